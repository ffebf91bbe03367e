//! What went wrong with a call, in words fit for a log.

use std::error::Error;

use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::error::metadata::ProvideErrorMetadata;

/// The service's code and words for a call it refused, or why it could not be reached.
///
/// The SDK's own `DisplayErrorContext` also prints the whole response, and with it whatever a table, a queue or KMS
/// had answered; nothing of that may reach a log.
#[must_use]
pub fn cause<E, R>(error: &SdkError<E, R>) -> String
where
    E: Error + ProvideErrorMetadata + 'static,
    R: std::fmt::Debug,
{
    if let Some(refused) = error.as_service_error() {
        return match (refused.code(), refused.message()) {
            (Some(code), Some(message)) => format!("{code}: {message}"),
            (Some(code), None) => code.to_owned(),
            // What the SDK makes of a body that is not the service's: perhaps a proxy's page.
            (None, _) => "the answer cannot be read".to_owned(),
        };
    }
    let mut words = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        words = format!("{words}: {error}");
        source = error.source();
    }
    words
}

/// Whether a call was refused for what only an operator can change: a permission, or something that is not there or not
/// as it should be. Trying again does not help then.
#[must_use]
pub fn needs_operator<E, R>(error: &SdkError<E, R>) -> bool
where
    E: Error + ProvideErrorMetadata,
{
    const CODES: [&str; 8] = [
        "AccessDeniedException",
        "AccessDenied",
        "ResourceNotFoundException",
        "QueueDoesNotExist",
        "NotFoundException",
        "DisabledException",
        "KMSInvalidStateException",
        "ValidationException",
    ];
    error.as_service_error().and_then(ProvideErrorMetadata::code).is_some_and(|code| CODES.contains(&code))
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_smithy_types::error::ErrorMetadata;

    type Refusal = SdkError<ErrorMetadata, &'static str>;

    #[test]
    fn a_refusal_is_its_code_and_message_without_the_response() {
        let refused = ErrorMetadata::builder().code("AccessDeniedException").message("no").build();
        let error = Refusal::service_error(refused, "the response with a secret");
        assert_eq!(cause(&error), "AccessDeniedException: no");
        let error = Refusal::service_error(ErrorMetadata::builder().build(), "the response with a secret");
        assert_eq!(cause(&error), "the answer cannot be read");
    }

    #[test]
    fn what_only_an_operator_can_change_is_told_apart_from_what_passes() {
        let refused = |code| Refusal::service_error(ErrorMetadata::builder().code(code).build(), "a response");
        for code in ["AccessDeniedException", "ResourceNotFoundException", "ValidationException", "QueueDoesNotExist"] {
            assert!(needs_operator(&refused(code)), "{code}");
        }
        for code in ["ProvisionedThroughputExceededException", "ThrottlingException", "InternalServerError"] {
            assert!(!needs_operator(&refused(code)), "{code}");
        }
        assert!(!needs_operator(&Refusal::timeout_error(std::io::Error::other("after 1.5 s"))));
    }

    #[test]
    fn a_response_that_cannot_be_read_is_not_quoted() {
        let error = Refusal::response_error(std::io::Error::other("truncated"), "the response with a secret");
        assert_eq!(cause(&error), "response error: truncated");
    }

    #[test]
    fn a_call_that_was_not_answered_says_why() {
        let error = Refusal::timeout_error(std::io::Error::other("after 1.5 s"));
        assert_eq!(cause(&error), "request has timed out: after 1.5 s");
    }
}
