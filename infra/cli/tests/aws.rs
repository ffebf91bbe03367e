//! What is wrong with the AWS account is told in words that say what to do, without waiting for a network.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use wiremock::matchers::any;
use wiremock::{Mock, MockServer, ResponseTemplate};

/// A person's home, without AWS settings.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a scratch folder"))
    }

    fn with_config(config: &str) -> Self {
        let home = Self::new();
        let folder = home.0.path().join(".aws");
        fs::create_dir(&folder).expect("made");
        fs::write(folder.join("config"), config).expect("written");
        home
    }

    /// Runs `hoopoe status --stack shop` with these variables and options.
    fn status(&self, variables: &[(&str, &str)], options: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_hoopoe"));
        command.env_clear().env("HOME", self.0.path()).current_dir(self.0.path() as &Path);
        command.envs(variables.iter().copied()).args(["status", "--stack", "shop"]).args(options);
        let Output { status, stderr, .. } = command.output().expect("the command starts");
        assert!(!status.success());
        String::from_utf8(stderr).expect("text")
    }
}

/// Nobody listens there.
const NOWHERE: &str = "http://127.0.0.1:9";
const KEYS: [(&str, &str); 3] =
    [("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"), ("AWS_SECRET_ACCESS_KEY", "secret"), ("AWS_REGION", "eu-central-1")];

#[test]
fn without_credentials_it_says_how_to_get_some() {
    for metadata in [("AWS_EC2_METADATA_DISABLED", "true"), ("AWS_EC2_METADATA_SERVICE_ENDPOINT", NOWHERE)] {
        let said = Home::new().status(&[metadata], &["--region", "eu-central-1"]);
        assert!(said.contains("no AWS credentials were found: run `aws configure`, or name a profile"), "{said}");
    }
}

/// On a machine that is not EC2's the address of its metadata leads nowhere; whoever listens here never answers.
#[test]
fn metadata_that_does_not_answer_is_asked_once() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    std::thread::spawn(move || {
        let mut open = Vec::new();
        for connection in listener.incoming() {
            counted.fetch_add(1, Ordering::SeqCst);
            open.push(connection);
        }
    });
    let endpoint = ("AWS_EC2_METADATA_SERVICE_ENDPOINT", endpoint.as_str());
    let said = Home::new().status(&[endpoint], &["--region", "eu-central-1"]);
    assert!(said.contains("no AWS credentials were found"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    // Where the region is missing too, that is said without asking anybody.
    let said = Home::new().status(&[endpoint], &[]);
    assert!(said.contains("no AWS region is set"), "{said}");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[test]
fn a_profile_that_is_not_there_is_answered_with_those_that_are() {
    let home = Home::with_config("[default]\nregion = us-east-1\n[profile work]\nregion = eu-west-1\n");
    for (variables, options) in [(&[][..], &["--profile", "shop"][..]), (&[("AWS_PROFILE", "shop")], &[])] {
        let said = home.status(variables, options);
        assert!(said.contains("there is no AWS profile \"shop\""), "{said}");
        assert!(said.contains("there are: default, work"), "{said}");
    }
    let said = Home::new().status(&[], &["--profile", "shop"]);
    assert!(said.contains("nor any other; `aws configure --profile shop` makes it"), "{said}");
}

#[test]
fn a_profile_without_credentials_does_not_use_those_of_the_environment() {
    let home = Home::with_config("[profile work]\nregion = eu-west-1\n");
    let said = home.status(&KEYS, &["--profile", "work"]);
    assert!(said.contains("no AWS credentials were found"), "{said}");
}

#[test]
fn without_a_region_it_says_how_to_name_one() {
    let said = Home::new().status(&KEYS[..2], &[]);
    assert!(said.contains("no AWS region is set") && said.contains("--region eu-central-1"), "{said}");
}

#[test]
fn without_a_network_it_says_that_aws_cannot_be_reached() {
    let said = Home::new().status(&[&KEYS[..], &[("AWS_ENDPOINT_URL", NOWHERE)]].concat(), &[]);
    assert!(said.contains("AWS cannot be reached"), "{said}");
}

/// CloudFormation as far as it refuses.
async fn refused(code: &str, message: &str) -> String {
    let server = MockServer::start().await;
    let body = format!(
        "<ErrorResponse xmlns=\"http://cloudformation.amazonaws.com/doc/2010-05-15/\"><Error><Type>Sender</Type>\
         <Code>{code}</Code><Message>{message}</Message></Error><RequestId>1</RequestId></ErrorResponse>"
    );
    let refusal = ResponseTemplate::new(400).set_body_raw(body, "text/xml");
    Mock::given(any()).respond_with(refusal).mount(&server).await;
    let uri = server.uri();
    tokio::task::spawn_blocking(move || {
        Home::new().status(&[&KEYS[..], &[("AWS_ENDPOINT_URL", uri.as_str())]].concat(), &[])
    })
    .await
    .expect("it does not panic")
}

#[tokio::test]
async fn what_aws_refuses_is_told_with_what_to_do() {
    let said = refused("ValidationError", "Stack with id shop does not exist").await;
    assert!(said.contains("there is no stack shop in eu-central-1: `sam deploy` makes it"), "{said}");
    let said = refused("ExpiredToken", "The security token included in the request is expired").await;
    assert!(said.contains("the AWS session has expired: sign in again, with `aws sso login`"), "{said}");
    let said = refused("InvalidClientTokenId", "The security token included in the request is invalid.").await;
    assert!(said.contains("AWS does not accept these credentials"), "{said}");
    let said = refused("AccessDenied", "User: x is not authorized to perform: cloudformation:DescribeStacks").await;
    assert!(said.contains("lack a permission") && said.contains("DescribeStacks"), "{said}");
}
