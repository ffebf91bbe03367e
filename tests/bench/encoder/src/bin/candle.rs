//! The peer candle: the FP32 weights in its BERT, `candle FOLDER TOKENIZER` with model.safetensors and config.json in
//! the folder, and the ids of our tokenizer, so that only the model differs.

use std::path::Path;

use anyhow::Context;
use bench_encoder::{Answer, pad, serve, time};
use candle_core::{DType, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config};
use hoopoe_encoder::tokenizer::Tokenizer;

fn main() -> anyhow::Result<()> {
    const USAGE: &str = "usage: candle FOLDER TOKENIZER";
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context(USAGE)?;
    let folder = Path::new(&folder);
    let tokenizer = Tokenizer::open(Path::new(&arguments.next().context(USAGE)?))?;
    let device = Device::Cpu;
    let config: Config = serde_json::from_slice(&std::fs::read(folder.join("config.json"))?)?;
    let weights = candle_core::safetensors::load(folder.join("model.safetensors"), &device)?;
    let model = BertModel::load(VarBuilder::from_tensors(weights, DType::F32, &device), &config)?;

    let encode = |texts: &[String]| -> anyhow::Result<Vec<Vec<f32>>> {
        let tokens: Vec<Vec<u32>> = texts.iter().map(|text| tokenizer.encode(text, 128)).collect();
        let (width, ids, mask) = pad(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>(), tokenizer.pad());
        let shape = (texts.len(), width);
        let ids = Tensor::from_vec(ids, shape, &device)?;
        let mask = Tensor::from_vec(mask, shape, &device)?;
        let states = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DType::F32)?.unsqueeze(2)?;
        let sums = states.broadcast_mul(&mask)?.sum(1)?;
        let norms = sums.sqr()?.sum_keepdim(1)?.sqrt()?;
        Ok(sums.broadcast_div(&norms)?.to_vec2()?)
    };
    serve(|request| {
        let vectors = encode(&request.batches[0])?;
        let seconds = time(request.runs, || request.batches.iter().try_for_each(|texts| encode(texts).map(|_| ())))?;
        Ok(Answer { seconds, vectors, ..Answer::default() })
    })
}
