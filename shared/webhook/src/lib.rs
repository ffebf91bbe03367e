//! The HTTP side: what every webhook function runs between the platform's request and the queue.
//!
//! | module | what is in it |
//! |---|---|
//! | [`handler`] | [`run`]: the whole of a webhook function. Verify, parse, take in, acknowledge; [`Extension`] for more |
//! | [`networks`] | [`AllowedNetworks`]: who may call, asked before anything else |
//! | [`intake`] | [`Intake`]: claim a message, give it its number, queue it |
//! | [`answer`] | the HTTP answers, and the short JSON of a refusal |

pub mod answer;
pub mod handler;
pub mod intake;
pub mod networks;

pub use handler::{Extension, UnpublishedError, run, run_with};
pub use hoopoe_telemetry::Fatal;
pub use intake::{Accepted, Intake, IntakeError, Taken};
pub use networks::{AllowedNetworks, NetworksError, OutsideError};
