//! Ours, and the bare session beneath it.
//!
//! | target | what a run does |
//! |---|---|
//! | `ours` | `Encoder::encode`: texts in, vectors out |
//! | `bare` | `Session::run` on tensors that were made before, of the batches that ours makes |
//! | `whole` | the same, each batch in one run, padded to its longest text |
//! | `padded` | our tokenizer, then each batch in one run, padded to its longest text |
//! | `tokens` | our tokenizer alone |
//!
//! `ours MODEL_FOLDER [GRAPH]`; GRAPH is an optimised graph to run instead of the folder's.

use std::path::Path;

use anyhow::{Context, ensure};
use bench_encoder::{Answer, pad, serve, time};
use hoopoe_encoder::{Encoder, EncoderFiles, Options, batching};
use ort::{session::Session, value::TensorRef};

const MAX_TOKENS: usize = 128;

/// A padded batch.
struct Batch {
    shape: [usize; 2],
    ids: Vec<i64>,
    mask: Vec<i64>,
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().context("usage: ours MODEL_FOLDER [GRAPH]")?;
    let mut files = EncoderFiles::in_build(Path::new(&folder));
    if let Some(graph) = arguments.next() {
        files.graph = graph.into();
    }
    let mut encoder = Encoder::load(&files, Options { max_tokens: MAX_TOKENS, ..Options::default() })?;

    serve(|request| {
        if let Some((count, tokens)) = request.make {
            return make(&encoder, &request.batches[0], count, tokens);
        }
        let first: Vec<Vec<u32>> = tokenise(&encoder, &request.batches[0]);
        let tokens = first.iter().map(Vec::len).collect();
        let batches: Vec<Batch> = request
            .batches
            .iter()
            .flat_map(|texts| {
                let tokens = tokenise(&encoder, texts);
                match request.target.as_str() {
                    "ours" | "bare" => split(&encoder, &tokens),
                    _ => vec![batch(&encoder, &tokens.iter().map(Vec::as_slice).collect::<Vec<_>>())],
                }
            })
            .collect();
        let computed = batches.iter().map(|batch| batch.shape[0] * batch.shape[1]).sum();
        let mut vectors = Vec::new();
        let seconds = match request.target.as_str() {
            "ours" => {
                vectors = encoder.encode(&request.batches[0])?.rows().map(<[f32]>::to_vec).collect();
                time(request.runs, || {
                    for texts in &request.batches {
                        encoder.encode(texts)?;
                    }
                    Ok(())
                })?
            }
            "bare" | "whole" => {
                time(request.runs, || batches.iter().try_for_each(|batch| run(encoder.session(), batch)))?
            }
            "padded" => time(request.runs, || {
                for texts in &request.batches {
                    let tokens = tokenise(&encoder, texts);
                    let batch = batch(&encoder, &tokens.iter().map(Vec::as_slice).collect::<Vec<_>>());
                    run(encoder.session(), &batch)?;
                }
                Ok(())
            })?,
            "tokens" => time(request.runs, || {
                for texts in &request.batches {
                    std::hint::black_box(tokenise(&encoder, texts));
                }
                Ok(())
            })?,
            other => anyhow::bail!("there is no target {other}"),
        };
        Ok(Answer { seconds, vectors, tokens, computed, ..Answer::default() })
    })
}

fn tokenise(encoder: &Encoder, texts: &[String]) -> Vec<Vec<u32>> {
    texts.iter().map(|text| encoder.tokenizer().encode(text, MAX_TOKENS)).collect()
}

fn batch(encoder: &Encoder, tokens: &[&[u32]]) -> Batch {
    let (width, ids, mask) = pad(tokens, encoder.tokenizer().pad());
    Batch { shape: [tokens.len(), width], ids, mask }
}

/// The batches that ours makes of them.
fn split(encoder: &Encoder, tokens: &[Vec<u32>]) -> Vec<Batch> {
    let mut sorted: Vec<&[u32]> = tokens.iter().map(Vec::as_slice).collect();
    sorted.sort_by_key(|tokens| tokens.len());
    let lengths: Vec<usize> = sorted.iter().map(|tokens| tokens.len()).collect();
    batching::split(&lengths).into_iter().map(|run| batch(encoder, &sorted[run])).collect()
}

fn run(session: &mut Session, Batch { shape, ids, mask }: &Batch) -> anyhow::Result<()> {
    let outputs = session.run(ort::inputs![
        "input_ids" => TensorRef::from_array_view((*shape, ids.as_slice()))?,
        "attention_mask" => TensorRef::from_array_view((*shape, mask.as_slice()))?,
    ])?;
    std::hint::black_box(outputs["vectors"].try_extract_tensor::<f32>()?);
    Ok(())
}

/// So many texts of exactly so many tokens, of words taken in turn.
fn make(encoder: &Encoder, words: &[String], count: usize, tokens: usize) -> anyhow::Result<Answer> {
    let length = |text: &str| encoder.tokenizer().encode(text, MAX_TOKENS + 1).len();
    let mut next = 0;
    let mut texts = Vec::new();
    while texts.len() < count {
        let mut text = String::new();
        let mut tries = 0;
        while length(&text) < tokens {
            tries += 1;
            ensure!(tries < 20 * words.len(), "no text of {tokens} tokens can be made of these words");
            let longer = format!("{text} {}", words[next % words.len()]);
            next += 1;
            if length(&longer) <= tokens {
                text = longer.trim().to_owned();
            }
        }
        texts.push(text);
    }
    Ok(Answer { texts, ..Answer::default() })
}
