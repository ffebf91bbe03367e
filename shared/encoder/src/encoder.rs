//! The encoder: a tokenizer and one ONNX Runtime session.

use std::{
    path::{Path, PathBuf},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use ort::{
    environment::Environment,
    session::{Session, builder::GraphOptimizationLevel},
    value::TensorRef,
};
use tracing::info_span;

use crate::{
    batching,
    tokenizer::{Tokenizer, TokenizerError},
};

/// Why an encoder could not be loaded, or a text not be encoded.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// ONNX Runtime's shared library is missing or of another version.
    #[error("ONNX Runtime could not be loaded from {path}: {reason}")]
    Library {
        /// Where it was looked for.
        path: PathBuf,
        /// What the loader said.
        reason: String,
    },
    /// The graph or its weights are missing, or not what this version of ONNX Runtime can run.
    #[error("the model {path} could not be loaded: {reason}")]
    Graph {
        /// The graph's file.
        path: PathBuf,
        /// What ONNX Runtime said.
        reason: String,
    },
    /// The tokenizer's file is missing or damaged.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    /// A run failed; the same texts would fail again.
    #[error("the model could not be run: {0}")]
    Run(String),
}

/// Where the parts of an encoder are.
#[derive(Clone, Debug)]
pub struct EncoderFiles {
    /// The graph; its `weights.bin` is beside it.
    pub graph: PathBuf,
    /// The tokenizer's file.
    pub tokenizer: PathBuf,
    /// ONNX Runtime's shared library.
    pub library: PathBuf,
}

impl EncoderFiles {
    /// The layout of a function's bundle: `model/` and `lib/` beside the binary.
    #[must_use]
    pub fn in_bundle(root: &Path) -> Self {
        let model = root.join("model");
        Self {
            graph: model.join("model.onnx"),
            tokenizer: model.join("tokenizer.bin"),
            library: root.join("lib/libonnxruntime.so"),
        }
    }

    /// The layout of a folder that `hoopoe model build` wrote, such as `target/model/current`.
    #[must_use]
    pub fn in_build(folder: &Path) -> Self {
        Self {
            graph: folder.join("model.onnx"),
            tokenizer: folder.join("tokenizer.bin"),
            library: folder.join("lib/libonnxruntime.so"),
        }
    }
}

/// How much an encoder may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads of a run.
    pub threads: usize,
    /// Tokens of a text, the marks at both ends included; what is beyond them is not read.
    pub max_tokens: usize,
}

impl Options {
    /// Threads by what the process was given: a Lambda function's memory, elsewhere the machine's processors.
    #[must_use]
    pub fn from_environment() -> Self {
        let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok().and_then(|size| size.parse().ok());
        let threads = match memory {
            Some(megabytes) => threads_of_function(megabytes),
            None => std::thread::available_parallelism().map_or(1, usize::from),
        };
        Self { threads, ..Self::default() }
    }
}

impl Default for Options {
    /// One thread, 128 tokens.
    fn default() -> Self {
        Self { threads: 1, max_tokens: 128 }
    }
}

/// The processors that a function of so much memory is given: one for each 1,769 MB. More are visible to it than it
/// may use, so asking the machine would give threads that wait for each other.
#[must_use]
pub fn threads_of_function(megabytes: usize) -> usize {
    (megabytes / 1769).max(1)
}

/// How long the parts of [`Encoder::load`] took.
#[derive(Clone, Copy, Debug)]
pub struct LoadTimes {
    /// Loading the shared library and making its environment.
    pub library: Duration,
    /// Mapping and preparing the graph.
    pub session: Duration,
    /// Mapping the tokenizer.
    pub tokenizer: Duration,
}

/// Unit vectors, one for each text, in the texts' order.
#[derive(Clone, Debug, PartialEq)]
pub struct Embeddings {
    dimension: usize,
    values: Vec<f32>,
}

impl Embeddings {
    /// Numbers in each vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The vectors, in the texts' order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dimension)
    }

    /// The vector of the text at `index`.
    ///
    /// # Panics
    /// When there is no such text.
    #[must_use]
    pub fn row(&self, index: usize) -> &[f32] {
        &self.values[index * self.dimension..][..self.dimension]
    }

    /// All vectors, one after the other.
    #[must_use]
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

/// Turns texts into unit vectors.
#[derive(Debug)]
pub struct Encoder {
    session: Session,
    tokenizer: Tokenizer,
    dimension: usize,
    max_tokens: usize,
    load_times: LoadTimes,
}

impl Encoder {
    /// Loads a model. ONNX Runtime is loaded once for the whole process, by the first call; the library of a later
    /// call is not looked at.
    ///
    /// # Errors
    /// When a file is missing, damaged or made for another version; the error names it.
    pub fn load(files: &EncoderFiles, options: Options) -> Result<Self, EncoderError> {
        let start = Instant::now();
        let environment = info_span!("encoder.library").in_scope(|| environment(&files.library))?;
        let library = start.elapsed();

        let start = Instant::now();
        let session = info_span!("encoder.session").in_scope(|| session(environment, &files.graph, options))?;
        let dimension = dimension(&session)
            .ok_or_else(|| graph_error(&files.graph, "its output is not `vectors`, float [batch, hidden]"))?;
        let session_time = start.elapsed();

        let start = Instant::now();
        let tokenizer = info_span!("encoder.tokenizer").in_scope(|| Tokenizer::open(&files.tokenizer))?;
        let load_times = LoadTimes { library, session: session_time, tokenizer: start.elapsed() };
        Ok(Self { session, tokenizer, dimension, max_tokens: options.max_tokens, load_times })
    }

    /// How long loading took.
    #[must_use]
    pub fn load_times(&self) -> LoadTimes {
        self.load_times
    }

    /// The build that this model comes from: vectors of two encoders may be compared when it is the same.
    #[must_use]
    pub fn model_id(&self) -> &str {
        self.tokenizer.model_id()
    }

    /// Numbers in each vector.
    #[must_use]
    pub fn dimension(&self) -> usize {
        self.dimension
    }

    /// The tokenizer, for looking at what the model sees.
    #[must_use]
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// The session beneath, for measuring what the encoder adds to it.
    #[cfg(feature = "session")]
    pub fn session(&mut self) -> &mut Session {
        &mut self.session
    }

    /// Encodes texts of any length and content, the empty one included.
    ///
    /// # Errors
    /// When ONNX Runtime fails, as when memory is short.
    pub fn encode<T: AsRef<str>>(&mut self, texts: &[T]) -> Result<Embeddings, EncoderError> {
        let _span = info_span!("encoder.encode", texts = texts.len()).entered();
        let tokens: Vec<Vec<u32>> =
            texts.iter().map(|text| self.tokenizer.encode(text.as_ref(), self.max_tokens)).collect();
        let mut order: Vec<usize> = (0..texts.len()).collect();
        order.sort_by_key(|&index| tokens[index].len());
        let lengths: Vec<usize> = order.iter().map(|&index| tokens[index].len()).collect();

        let mut values = vec![0.0; texts.len() * self.dimension];
        for run in batching::split(&lengths) {
            let width = lengths[run.end - 1];
            let batch = &order[run];
            let vectors = self.run(batch.iter().map(|&index| tokens[index].as_slice()), batch.len(), width)?;
            for (&index, vector) in batch.iter().zip(vectors.chunks_exact(self.dimension)) {
                values[index * self.dimension..][..self.dimension].copy_from_slice(vector);
            }
        }
        Ok(Embeddings { dimension: self.dimension, values })
    }

    /// Runs one batch, padded to `width` tokens.
    fn run<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a [u32]>,
        count: usize,
        width: usize,
    ) -> Result<Vec<f32>, EncoderError> {
        let mut ids = vec![i64::from(self.tokenizer.pad()); count * width];
        let mut mask = vec![0_i64; count * width];
        for (row, tokens) in texts.enumerate() {
            for (column, &token) in tokens.iter().enumerate() {
                ids[row * width + column] = i64::from(token);
                mask[row * width + column] = 1;
            }
        }
        let failed = |error: ort::Error| EncoderError::Run(error.to_string());
        let shape = [count, width];
        let inputs = ort::inputs![
            "input_ids" => TensorRef::from_array_view((shape, ids.as_slice())).map_err(failed)?,
            "attention_mask" => TensorRef::from_array_view((shape, mask.as_slice())).map_err(failed)?,
        ];
        let outputs = self.session.run(inputs).map_err(failed)?;
        let (_, vectors) = outputs["vectors"].try_extract_tensor::<f32>().map_err(failed)?;
        Ok(vectors.to_vec())
    }
}

/// The process's ONNX Runtime.
fn environment(library: &Path) -> Result<&'static Environment, EncoderError> {
    static ENVIRONMENT: OnceLock<Environment> = OnceLock::new();
    static LOADING: Mutex<()> = Mutex::new(());
    let _loading = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let failed = |reason: String| EncoderError::Library { path: library.to_owned(), reason };
    let builder = ort::init_from(library).map_err(|error| failed(error.to_string()))?;
    let environment = builder.with_telemetry(false).build().map_err(|error| failed(error.to_string()))?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

fn session(environment: &Environment, graph: &Path, options: Options) -> Result<Session, EncoderError> {
    let build = || -> ort::Result<Session> {
        Session::builder(environment)?
            // The build has done it.
            .with_optimization_level(GraphOptimizationLevel::Disable)?
            .with_intra_threads(options.threads)?
            // A thread that spins between messages is billed and gains nothing.
            .with_intra_op_spinning(false)?
            // Patterns are kept for every shape, and here every batch has its own.
            .with_memory_pattern(false)?
            .commit_from_file(graph)
    };
    build().map_err(|error| graph_error(graph, &error.to_string()))
}

fn graph_error(path: &Path, reason: &str) -> EncoderError {
    EncoderError::Graph { path: path.to_owned(), reason: reason.to_owned() }
}

fn dimension(session: &Session) -> Option<usize> {
    let output = session.outputs().iter().find(|output| output.name() == "vectors")?;
    let hidden = output.dtype().tensor_shape()?.last()?;
    usize::try_from(*hidden).ok().filter(|&hidden| hidden > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_follow_the_memory_that_is_paid_for() {
        let threads = [128, 1768, 1769, 3537, 3538, 10_240].map(threads_of_function);
        assert_eq!(threads, [1, 1, 1, 1, 2, 5]);
    }
}
