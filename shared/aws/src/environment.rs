//! The environment variables of a function.

use std::path::PathBuf;
use std::str::FromStr;

/// Reads environment variables into typed values.
///
/// A function reads everything it needs from here before its first event, so that a wrong deployment stops at start
/// with a sentence and not at the first message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Environment;

impl Environment {
    /// The value of a variable.
    ///
    /// # Errors
    ///
    /// When it is missing or empty.
    pub fn required(self, name: &'static str) -> Result<String, EnvironmentError> {
        std::env::var(name).ok().filter(|value| !value.is_empty()).ok_or(EnvironmentError::Missing { name })
    }

    /// The value of a variable that need not be set.
    #[must_use]
    pub fn optional(self, name: &'static str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }

    /// The value of a variable as a number or another type that can be read from text.
    ///
    /// # Errors
    ///
    /// When it is missing, or not of this type.
    pub fn parsed<T: FromStr>(self, name: &'static str) -> Result<T, EnvironmentError> {
        self.required(name)?
            .parse()
            .map_err(|_| EnvironmentError::Invalid { name, expected: std::any::type_name::<T>() })
    }

    /// The folder the bundle was unpacked to, which Lambda names in `LAMBDA_TASK_ROOT`.
    ///
    /// # Errors
    ///
    /// When the variable is missing.
    pub fn task_root(self) -> Result<PathBuf, EnvironmentError> {
        self.required("LAMBDA_TASK_ROOT").map(PathBuf::from)
    }
}

/// A variable is not as the function needs it.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// Not set.
    #[error("the environment variable {name} is not set; template.yaml sets it for every function that needs it")]
    Missing {
        /// The variable.
        name: &'static str,
    },
    /// Set to something else.
    #[error("the environment variable {name} is not a valid {expected}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// The type it is read as.
        expected: &'static str,
    },
}
