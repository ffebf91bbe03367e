//! The peer tract: the FP32 graph, `tract GRAPH TOKENIZER`, with our tokenizer, so that only the runtime differs. A plan is
//! made for each shape, outside the time that is taken.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use bench_encoder::{Answer, pad, serve, time};
use hoopoe_encoder::tokenizer::Tokenizer;
use tract_onnx::prelude::*;

type Plan = Arc<TypedRunnableModel>;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let graph = arguments.next().context("usage: tract GRAPH TOKENIZER")?;
    let tokenizer = Tokenizer::open(Path::new(&arguments.next().context("usage: tract GRAPH TOKENIZER")?))?;
    let model = tract_onnx::onnx().model_for_path(&graph)?;
    // One at a time: each holds the weights.
    let mut plan: Option<([usize; 2], Plan)> = None;

    let mut encode = |texts: &[String]| -> anyhow::Result<Vec<Vec<f32>>> {
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode(text, 128)).collect();
        let (width, ids, mask) = pad(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>(), tokenizer.pad());
        let shape = [texts.len(), width];
        let runnable = match plan.take() {
            Some((planned, runnable)) if planned == shape => runnable,
            _ => {
                let fact = InferenceFact::dt_shape(i64::datum_type(), shape);
                let typed = model.clone().with_input_fact(0, fact.clone())?.with_input_fact(1, fact)?;
                typed.into_optimized()?.into_runnable()?
            }
        };
        let tensor = |values: &[i64]| Ok::<_, anyhow::Error>(Tensor::from_shape(&shape, values)?.into());
        let outputs = runnable.run(tvec!(tensor(&ids)?, tensor(&mask)?))?;
        plan = Some((shape, runnable));
        let vectors = outputs[0].to_plain_array_view::<f32>()?;
        Ok(vectors.outer_iter().map(|row| row.iter().copied().collect()).collect())
    };
    serve(|request| {
        let vectors = encode(&request.batches[0])?;
        let seconds = time(request.runs, || request.batches.iter().try_for_each(|texts| encode(texts).map(|_| ())))?;
        Ok(Answer { seconds, vectors, ..Answer::default() })
    })
}
