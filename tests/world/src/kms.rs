//! KMS, as far as the functions call it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value as Json, json};

/// What stands for a ciphertext: the secret with its context, which has to be the same for decrypting.
#[must_use]
pub fn encrypt(context: &Json, secret: &[u8]) -> String {
    BASE64.encode(json!({"context": context, "secret": BASE64.encode(secret)}).to_string())
}

/// Carries a call out: the status of the answer, and its body.
///
/// # Errors
///
/// A call that this stand-in does not know.
pub fn call(operation: &str, body: &[u8]) -> Result<(u16, Json), String> {
    let request: Json = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let key = "arn:aws:kms:us-east-1:000000000000:key/1";
    let context = &request["EncryptionContext"];
    match operation {
        "Encrypt" => {
            let secret = BASE64.decode(request["Plaintext"].as_str().unwrap_or_default()).map_err(|e| e.to_string())?;
            // "Up to 4096 bytes for symmetric KMS keys."
            if !(1..=4096).contains(&secret.len()) {
                return Ok(refused("ValidationException"));
            }
            Ok((200, json!({"KeyId": key, "CiphertextBlob": encrypt(context, &secret)})))
        }
        "Decrypt" => {
            let sealed = BASE64.decode(request["CiphertextBlob"].as_str().unwrap_or_default()).unwrap_or_default();
            let sealed: Json = serde_json::from_slice(&sealed).unwrap_or_default();
            match sealed["secret"].as_str().filter(|_| &sealed["context"] == context) {
                Some(secret) => Ok((200, json!({"KeyId": key, "Plaintext": secret}))),
                None => Ok(refused("InvalidCiphertextException")),
            }
        }
        _ => Err(format!("KMS's {operation} is not called by the functions")),
    }
}

fn refused(kind: &str) -> (u16, Json) {
    (400, json!({"__type": kind, "message": ""}))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ciphertext_is_bound_to_its_context() {
        let context = json!({"channel": "telegram"});
        let plain = json!({"KeyId": "k", "Plaintext": "cw==", "EncryptionContext": context});
        let (_, sealed) = call("Encrypt", plain.to_string().as_bytes()).expect("it is known");
        let open = |context: Json| {
            let request = json!({"CiphertextBlob": sealed["CiphertextBlob"], "EncryptionContext": context});
            call("Decrypt", request.to_string().as_bytes()).expect("it is known")
        };
        assert_eq!(open(context).1["Plaintext"], "cw==");
        assert_eq!(open(json!({"channel": "wecom"})).1["__type"], "InvalidCiphertextException");
        assert!(call("GenerateDataKey", b"{}").is_err());
    }
}
