//! Texts in, unit vectors out.
//!
//! | module | what it does |
//! |---|---|
//! | [`encoder`] | loads a built model, runs batches through ONNX Runtime |
//! | [`tokenizer`] | text to token ids, from a memory-mapped file |
//! | [`batching`] | which texts share a batch, so that little padding is computed |
//!
//! A model is a folder that `hoopoe model build` writes. Its graph already pools and normalises, and is already
//! optimised, so that loading does as little as possible: the weights and the tokenizer are mapped, not read.

pub mod batching;
pub mod encoder;
pub mod tokenizer;

pub use encoder::{Embeddings, Encoder, EncoderError, EncoderFiles, LoadTimes, Options};
