//! The encoder: a tokenizer and one ONNX Runtime session.

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
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

/// More runs at the same time wait for the memory of the machine.
const MOST_RUNS: usize = 8;

/// Batches that are worth one more session, which takes about as long to prepare as a batch.
const BATCHES_OF_A_RUN: usize = 4;

/// How much an encoder may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Threads of a run. Vectors are the same with any number of them.
    pub threads: usize,
    /// Runs at the same time, where there are many texts. Each takes the memory of a session, about 50 MB.
    pub runs: usize,
    /// Tokens of a text, the marks at both ends included; what is beyond them is not read.
    pub max_tokens: usize,
}

impl Options {
    /// By what the process was given: threads by a Lambda function's memory, elsewhere a run for each of the machine's
    /// processors. Of many short texts two runs of one thread encode more than one run of two: 5,500 utterances take 10.8 s
    /// in one thread, 6.3 s in two, 5.4 s in two runs of one.
    #[must_use]
    pub fn from_environment() -> Self {
        let memory = std::env::var("AWS_LAMBDA_FUNCTION_MEMORY_SIZE").ok().and_then(|size| size.parse().ok());
        match memory {
            Some(megabytes) => Self { threads: threads_of_function(megabytes), ..Self::default() },
            None => {
                Self { runs: thread::available_parallelism().map_or(1, usize::from).min(MOST_RUNS), ..Self::default() }
            }
        }
    }
}

impl Default for Options {
    /// One thread, one run, 128 tokens.
    fn default() -> Self {
        Self { threads: 1, runs: 1, max_tokens: 128 }
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

/// Unit vectors, one for each text, in the texts' order; see [`Encoder::encode`] for where one is zero.
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
    /// One for each run at the same time: the first, and those that many texts have called for.
    sessions: Vec<Session>,
    environment: &'static Environment,
    graph: PathBuf,
    tokenizer: Tokenizer,
    dimension: usize,
    options: Options,
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
        Ok(Self {
            sessions: vec![session],
            environment,
            graph: files.graph.clone(),
            tokenizer,
            dimension,
            options,
            load_times,
        })
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
        &mut self.sessions[0]
    }

    /// Encodes questions of any length and content, the empty one included. One of which the model knows nothing
    /// ([`Tokenizer::knows`]) would get a vector that is near to whatever is short: it gets the zero vector instead, which
    /// is near to nothing.
    ///
    /// # Errors
    /// When ONNX Runtime fails, as when memory is short.
    pub fn encode<T: AsRef<str>>(&mut self, texts: &[T]) -> Result<Embeddings, EncoderError> {
        let tokens = self.tokens(texts);
        let mut embeddings = self.vectors(&tokens, |_| {})?;
        for (index, (text, tokens)) in texts.iter().zip(&tokens).enumerate() {
            if !self.tokenizer.knows(text.as_ref(), tokens) {
                embeddings.values[index * self.dimension..][..self.dimension].fill(0.0);
            }
        }
        Ok(embeddings)
    }

    /// Encodes texts to learn from, each as a unit vector, and calls `watch` after each batch, from whichever thread ran
    /// it, with the number of texts that are encoded by then.
    ///
    /// # Errors
    /// When ONNX Runtime fails, as when memory is short.
    pub fn encode_watched<T: AsRef<str>>(
        &mut self,
        texts: &[T],
        watch: impl Fn(usize) + Sync,
    ) -> Result<Embeddings, EncoderError> {
        let tokens = self.tokens(texts);
        self.vectors(&tokens, watch)
    }

    fn tokens<T: AsRef<str>>(&self, texts: &[T]) -> Vec<Vec<u32>> {
        texts.iter().map(|text| self.tokenizer.encode(text.as_ref(), self.options.max_tokens)).collect()
    }

    fn vectors(&mut self, tokens: &[Vec<u32>], watch: impl Fn(usize) + Sync) -> Result<Embeddings, EncoderError> {
        let _span = info_span!("encoder.encode", texts = tokens.len()).entered();
        let mut order: Vec<usize> = (0..tokens.len()).collect();
        order.sort_by_key(|&index| tokens[index].len());
        let lengths: Vec<usize> = order.iter().map(|&index| tokens[index].len()).collect();
        let batches = batching::split(&lengths);
        self.prepare(batches.len() / BATCHES_OF_A_RUN)?;

        let (pad, dimension) = (self.tokenizer.pad(), self.dimension);
        let values = Mutex::new(vec![0.0; tokens.len() * dimension]);
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let work = |session: &mut Session| -> Result<(), EncoderError> {
            while let Some(Range { start, end }) = batches.get(next.fetch_add(1, Ordering::Relaxed)).cloned() {
                let batch = &order[start..end];
                let vectors = run(session, batch.iter().map(|&index| tokens[index].as_slice()), lengths[end - 1], pad)?;
                let mut values = values.lock().unwrap_or_else(PoisonError::into_inner);
                for (&index, vector) in batch.iter().zip(vectors.chunks_exact(dimension)) {
                    values[index * dimension..][..dimension].copy_from_slice(vector);
                }
                drop(values);
                watch(done.fetch_add(batch.len(), Ordering::Relaxed) + batch.len());
            }
            Ok(())
        };
        match self.sessions.as_mut_slice() {
            [session] => work(session)?,
            sessions => thread::scope(|scope| {
                let runs: Vec<_> = sessions.iter_mut().map(|session| scope.spawn(|| work(session))).collect();
                runs.into_iter().try_for_each(|run| match run.join() {
                    Ok(ended) => ended,
                    Err(panic) => std::panic::resume_unwind(panic),
                })
            })?,
        }
        Ok(Embeddings { dimension, values: values.into_inner().unwrap_or_else(PoisonError::into_inner) })
    }

    /// Sees to as many sessions, but for no more than the options allow.
    fn prepare(&mut self, sessions: usize) -> Result<(), EncoderError> {
        while self.sessions.len() < sessions.min(self.options.runs) {
            self.sessions.push(session(self.environment, &self.graph, self.options)?);
        }
        Ok(())
    }
}

/// Runs one batch, padded to `width` tokens with the token `pad`.
fn run<'a>(
    session: &mut Session,
    texts: impl ExactSizeIterator<Item = &'a [u32]>,
    width: usize,
    pad: u32,
) -> Result<Vec<f32>, EncoderError> {
    let shape = [texts.len(), width];
    let mut ids = vec![i64::from(pad); texts.len() * width];
    let mut mask = vec![0_i64; texts.len() * width];
    for (row, tokens) in texts.enumerate() {
        for (column, &token) in tokens.iter().enumerate() {
            ids[row * width + column] = i64::from(token);
            mask[row * width + column] = 1;
        }
    }
    let failed = |error: ort::Error| EncoderError::Run(error.to_string());
    let inputs = ort::inputs![
        "input_ids" => TensorRef::from_array_view((shape, ids.as_slice())).map_err(failed)?,
        "attention_mask" => TensorRef::from_array_view((shape, mask.as_slice())).map_err(failed)?,
    ];
    let outputs = session.run(inputs).map_err(failed)?;
    let (_, vectors) = outputs["vectors"].try_extract_tensor::<f32>().map_err(failed)?;
    Ok(vectors.to_vec())
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
