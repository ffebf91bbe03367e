//! Each function's role may do its job and nothing else: every call of the list below is tried with every role, and the
//! ones that are not denied are the ones that the function's job needs.
//!
//! The emulator enforces the roles' policies; what it does not enforce is listed in `infra/permissions.md` and read in
//! the template instead.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_dynamodb::types::{AttributeValue, BatchStatementRequest, KeysAndAttributes};
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::primitives::Blob;
use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use aws_types::SdkConfig;
use e2e::Stack;
use hoopoe_message::Channel;

/// What the function of a channel may do. `own` is its channel, `other` another one.
const WEBHOOK: [&str; 6] = [
    "UpdateItem Claims own",
    "BatchGetItem Claims own",
    "Query Keys own/webhook",
    "Decrypt own/webhook",
    "UpdateItem Usage own/webhook",
    "SendMessage Inbound",
];

/// What a function may do besides, or at all where it is not a channel's.
const MORE: [(&str, &[&str]); 5] = [
    ("wechat", &["Query Transcripts own", "UpdateItem Transcripts own"]),
    ("webchat", &["Query Transcripts own", "PutItem Transcripts own"]),
    (
        "inference",
        &[
            "ReceiveMessage Inbound",
            "ChangeMessageVisibility Inbound",
            "DeleteMessage Inbound",
            "GetQueueAttributes Inbound",
            "SendMessage Outbound",
            "SendMessage InboundDeadLetters",
            "BatchGetItem Sessions own",
            "BatchGetItem Sessions other",
            "PutItem Sessions own",
            "PutItem Sessions other",
            "DeleteItem Sessions own",
            "DeleteItem Sessions other",
            "PartiQLInsert Sessions own",
            "PartiQLInsert Sessions other",
            "PartiQLUpdate Sessions own",
            "PartiQLUpdate Sessions other",
        ],
    ),
    (
        "deliver",
        &[
            "ReceiveMessage Outbound",
            "ChangeMessageVisibility Outbound",
            "DeleteMessage Outbound",
            "GetQueueAttributes Outbound",
            "SendMessage OutboundDeadLetters",
            "GetItem Sends own",
            "GetItem Sends other",
            "UpdateItem Sends own",
            "UpdateItem Sends other",
            "PartiQLInsert Sends own",
            "PartiQLInsert Sends other",
            "PartiQLUpdate Sends own",
            "PartiQLUpdate Sends other",
            "PutItem Transcripts own",
            "PutItem Transcripts other",
            "Query Keys own/send",
            "Query Keys other/send",
            "Decrypt own/send",
            "Decrypt other/send",
            "UpdateItem Tokens own",
            "UpdateItem Tokens other",
            "Decrypt own/token",
            "Decrypt other/token",
            "Encrypt own/token",
            "Encrypt other/token",
            "UpdateItem Usage own/send",
            "UpdateItem Usage other/send",
            "SendMessage Outbound",
        ],
    ),
    (
        "rotate",
        &[
            "Scan Keys",
            "Query Keys own/webhook",
            "Query Keys own/send",
            "Query Keys own/token",
            "Query Keys other/webhook",
            "Query Keys other/send",
            "Query Keys other/token",
            "UpdateItem Keys own/webhook",
            "UpdateItem Keys own/send",
            "UpdateItem Keys own/token",
            "UpdateItem Keys other/webhook",
            "UpdateItem Keys other/send",
            "UpdateItem Keys other/token",
            "GetItem Keys own/webhook",
            "GetItem Keys own/send",
            "PutItem Keys own/webhook",
            "Decrypt own/webhook",
            "Decrypt own/send",
            "Encrypt own/webhook",
            "Query Usage own/webhook",
            "Query Usage own/send",
            "Query Usage own/token",
            "Query Usage other/webhook",
            "Query Usage other/send",
            "Query Usage other/token",
            "PutItem Audit own/webhook",
            "PutItem Audit own/send",
            "PutItem Audit own/token",
            "PutItem Audit other/webhook",
            "PutItem Audit other/send",
            "PutItem Audit other/token",
        ],
    ),
];

const TABLES: [&str; 5] = ["Claims", "Sessions", "Sends", "Transcripts", "Tokens"];
const QUEUES: [(&str, &str); 4] = [
    ("Inbound", "InboundQueueUrl"),
    ("InboundDeadLetters", "InboundDeadLettersUrl"),
    ("Outbound", "OutboundQueueUrl"),
    ("OutboundDeadLetters", "OutboundDeadLettersUrl"),
];
const NAMES: [&str; 3] = ["webhook", "send", "token"];

#[tokio::test]
async fn each_role_may_do_its_job_and_nothing_else() {
    let stack = Stack::open().await;
    let mut faults = Vec::new();
    for (function, role) in roles(&stack).await {
        let channel = Channel::ALL.into_iter().find(|channel| channel.as_str() == function);
        let job = MORE.iter().find(|(name, _)| *name == function).map_or(&[][..], |(_, job)| job);
        assert!(channel.is_some() || !job.is_empty(), "what may {function} do? Say it in MORE");
        let job = job.iter().chain(channel.iter().flat_map(|_| &WEBHOOK));
        let wanted: BTreeSet<String> = job.map(|call| (*call).to_owned()).collect();
        let found = Caller::new(&stack, &role, channel.unwrap_or(Channel::Telegram)).await.tries_everything().await;
        faults.extend(found.difference(&wanted).map(|call| format!("{function} may {call}")));
        faults.extend(wanted.difference(&found).map(|call| format!("{function} may not {call}")));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test]
async fn a_ciphertext_of_another_place_does_not_open_under_a_context_that_is_allowed() {
    let stack = Stack::open().await;
    let role = &roles(&stack).await["telegram"];
    let caller = Caller::new(&stack, role, Channel::Telegram).await;
    let place = (Channel::Slack, "webhook");
    let opened = caller
        .kms
        .decrypt()
        .ciphertext_blob(caller.ciphertexts[&place].clone())
        .set_encryption_context(Some(caller.context((Channel::Telegram, "webhook"))))
        .send()
        .await;
    let error = opened.expect_err("it belongs to Slack");
    assert_eq!(error.code(), Some("InvalidCiphertextException"), "{error:?}");
}

/// The role's ARN of each function, by the last part of its name.
async fn roles(stack: &Stack) -> BTreeMap<String, String> {
    let lambda = aws_sdk_lambda::Client::new(&stack.config);
    let listed = lambda.list_functions().send().await.expect("the emulator answers");
    let roles = listed.functions().iter().map(|function| {
        let (_, name) = function.function_name().and_then(|name| name.rsplit_once('-')).expect("hoopoe-<name>");
        (name.to_owned(), function.role().expect("a role").to_owned())
    });
    roles.collect()
}

/// Where a secret belongs: a channel and `webhook`, `send` or `token`.
type Place = (Channel, &'static str);

/// Somebody with a session of a role.
struct Caller<'a> {
    stack: &'a Stack,
    own: Channel,
    other: Channel,
    /// The items and secrets of this test.
    bot: String,
    key: String,
    ciphertexts: HashMap<Place, Blob>,
    dynamodb: aws_sdk_dynamodb::Client,
    kms: aws_sdk_kms::Client,
    sqs: aws_sdk_sqs::Client,
    lambda: aws_sdk_lambda::Client,
    sts: aws_sdk_sts::Client,
    cloudformation: aws_sdk_cloudformation::Client,
    role: String,
    /// The calls that were not denied.
    done: BTreeSet<String>,
}

impl<'a> Caller<'a> {
    async fn new(stack: &'a Stack, role: &str, own: Channel) -> Self {
        // The emulator lets the account's root be who the role trusts, which on AWS is Lambda alone.
        let sts = aws_sdk_sts::Client::new(&stack.config);
        let assumed = sts.assume_role().role_arn(role).role_session_name("permissions").send().await;
        let session = assumed.expect("a session").credentials.expect("credentials");
        let credentials = Credentials::new(
            session.access_key_id,
            session.secret_access_key,
            Some(session.session_token),
            None,
            "role",
        );
        let config: SdkConfig =
            stack.config.to_builder().credentials_provider(SharedCredentialsProvider::new(credentials)).build();
        let other = if own == Channel::Slack { Channel::Line } else { Channel::Slack };
        let root = aws_sdk_kms::Client::new(&stack.config);
        let described = root.describe_key().key_id(stack.output("KeyAlias")).send().await.expect("the key");
        let key = described.key_metadata.and_then(|key| key.arn).expect("an ARN");
        let mut caller = Self {
            stack,
            own,
            other,
            bot: Stack::new_bot(),
            key,
            ciphertexts: HashMap::new(),
            dynamodb: aws_sdk_dynamodb::Client::new(&config),
            kms: aws_sdk_kms::Client::new(&config),
            sqs: aws_sdk_sqs::Client::new(&config),
            lambda: aws_sdk_lambda::Client::new(&config),
            sts: aws_sdk_sts::Client::new(&config),
            cloudformation: aws_sdk_cloudformation::Client::new(&config),
            role: role.to_owned(),
            done: BTreeSet::new(),
        };
        for place in caller.places().map(|(_, place)| place) {
            let sealed = caller.encrypt(&root, place).await.expect("the root may encrypt");
            caller.ciphertexts.insert(place, sealed.ciphertext_blob.expect("a ciphertext"));
        }
        caller
    }

    /// Every place of a secret, as the list of calls names it.
    fn places(&self) -> impl Iterator<Item = (String, Place)> + use<> {
        [("own", self.own), ("other", self.other)]
            .into_iter()
            .flat_map(|(whose, channel)| NAMES.map(|name| (format!("{whose}/{name}"), (channel, name))))
    }

    fn context(&self, (channel, name): Place) -> HashMap<String, String> {
        [("channel", channel.as_str()), ("bot", &self.bot), ("name", name)]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    }

    async fn encrypt(
        &self,
        kms: &aws_sdk_kms::Client,
        place: Place,
    ) -> Result<aws_sdk_kms::operation::encrypt::EncryptOutput, SdkError<aws_sdk_kms::operation::encrypt::EncryptError>>
    {
        let context = Some(self.context(place));
        let call = kms.encrypt().key_id(&self.key).plaintext(Blob::new("secret"));
        call.set_encryption_context(context).send().await
    }

    /// Takes note of how a call ended.
    fn note<T, E, R>(&mut self, call: String, ended: Result<T, SdkError<E, R>>)
    where
        E: ProvideErrorMetadata + Debug,
        R: Debug,
    {
        if let Err(error) = ended {
            match error.code().unwrap_or_default() {
                "AccessDenied" | "AccessDeniedException" => return,
                // There is no message to be had by such a handle: but the caller may.
                "ReceiptHandleIsInvalid" | "MessageNotInflight" => {}
                _ => panic!("{call} as {}: {error:?}", self.role),
            }
        }
        self.done.insert(call);
    }

    /// Tries every call and returns those that were not denied.
    async fn tries_everything(mut self) -> BTreeSet<String> {
        for name in TABLES {
            let table = self.stack.output(&format!("{name}TableName")).to_owned();
            for (label, channel) in [("own", self.own), ("other", self.other)] {
                let conversation = AttributeValue::S(format!("{channel}/{}/1", self.bot));
                let key = match name {
                    "Tokens" => vec![("bot", AttributeValue::S(format!("{channel}/{}", self.bot)))],
                    "Transcripts" => vec![("conversation", conversation), ("seq", AttributeValue::N("1".into()))],
                    _ => vec![("conversation", conversation)],
                };
                self.tries_items(&table, &key, &format!("{name} {label}")).await;
            }
            self.tries_table(&table, name).await;
        }
        for (name, range, value) in [
            ("Keys", "version", AttributeValue::N("1".into())),
            ("Usage", "name", AttributeValue::S("rate".into())),
            ("Audit", "at", AttributeValue::S("0#tried".into())),
        ] {
            let table = self.stack.output(&format!("{name}TableName")).to_owned();
            for (label, (channel, purpose)) in self.places() {
                let key = AttributeValue::S(format!("{channel}/{}/{purpose}", self.bot));
                self.tries_items(&table, &[("key", key), (range, value.clone())], &format!("{name} {label}")).await;
            }
            self.tries_table(&table, name).await;
        }
        for (name, output) in QUEUES {
            self.tries_queue(name, self.stack.output(output)).await;
        }
        self.tries_key().await;
        self.tries_others().await;
        self.done
    }

    /// What names an item. What is written ends soon.
    async fn tries_items(&mut self, table: &str, key: &[(&str, AttributeValue)], name: &str) {
        let (dynamodb, key) =
            (self.dynamodb.clone(), key.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
        let key: HashMap<String, AttributeValue> = key.collect();
        let ended = dynamodb.get_item().table_name(table).set_key(Some(key.clone())).send().await;
        self.note(format!("GetItem {name}"), ended);

        let keys = KeysAndAttributes::builder().keys(key.clone()).build().expect("it has keys");
        let ended = dynamodb.batch_get_item().request_items(table, keys).send().await;
        self.note(format!("BatchGetItem {name}"), ended);

        let partition = key
            .keys()
            .find(|name| !["seq", "version", "name", "at"].contains(&name.as_str()))
            .expect("a partition key");
        let ended = dynamodb
            .query()
            .table_name(table)
            .key_condition_expression("#partition = :partition")
            .expression_attribute_names("#partition", partition)
            .expression_attribute_values(":partition", key[partition].clone())
            .send()
            .await;
        self.note(format!("Query {name}"), ended);

        let past = AttributeValue::N("1".into());
        let ended = dynamodb
            .update_item()
            .table_name(table)
            .set_key(Some(key.clone()))
            .update_expression("SET expires_at = :past")
            .expression_attribute_values(":past", past.clone())
            .send()
            .await;
        self.note(format!("UpdateItem {name}"), ended);

        let (names, values): (Vec<_>, Vec<_>) = key.clone().into_iter().unzip();
        let members: Vec<String> = names.iter().map(|name| format!("'{name}': ?")).collect();
        let named: Vec<String> = names.iter().map(|name| format!("\"{name}\" = ?")).collect();
        for (action, statement, values) in [
            ("Insert", format!("INSERT INTO \"{table}\" VALUE {{{}}}", members.join(", ")), values.clone()),
            (
                "Update",
                format!("UPDATE \"{table}\" SET \"expires_at\" = ? WHERE {}", named.join(" AND ")),
                [past.clone()].into_iter().chain(values).collect(),
            ),
        ] {
            let request = BatchStatementRequest::builder().statement(statement).set_parameters(Some(values));
            let request = request.build().expect("a statement");
            let ended = dynamodb.batch_execute_statement().statements(request).send().await;
            self.note(format!("PartiQL{action} {name}"), ended);
        }

        let mut item = key.clone();
        item.insert("expires_at".into(), past);
        let ended = dynamodb.put_item().table_name(table).set_item(Some(item)).send().await;
        self.note(format!("PutItem {name}"), ended);

        let ended = dynamodb.delete_item().table_name(table).set_key(Some(key)).send().await;
        self.note(format!("DeleteItem {name}"), ended);
    }

    async fn tries_table(&mut self, table: &str, name: &str) {
        let ended = self.dynamodb.scan().table_name(table).limit(1).send().await;
        self.note(format!("Scan {name}"), ended);
        let ended = self.dynamodb.describe_table().table_name(table).send().await;
        self.note(format!("DescribeTable {name}"), ended);
        let statement = format!("SELECT * FROM \"{table}\"");
        let ended = self.dynamodb.execute_statement().statement(statement).send().await;
        self.note(format!("ExecuteStatement {name}"), ended);
    }

    async fn tries_queue(&mut self, name: &str, url: &str) {
        let mark = format!("permissions of {} for {name}", self.bot);
        // A batch needs the same permission as a message.
        let entry = SendMessageBatchRequestEntry::builder().id("1").message_body(&mark).build().expect("an entry");
        let ended = self.sqs.send_message_batch().queue_url(url).entries(entry).send().await;
        let sent = ended.is_ok();
        self.note(format!("SendMessage {name}"), ended);
        if sent {
            // No function can read it, so it is buried, and taken out again here.
            let dead = if name.starts_with("Inbound") { "InboundDeadLettersUrl" } else { "OutboundDeadLettersUrl" };
            self.stack.dead_letter(dead, &mark).await;
        }
        // Seen again at once by whom it is for.
        let ended = self.sqs.receive_message().queue_url(url).visibility_timeout(0).send().await;
        self.note(format!("ReceiveMessage {name}"), ended);
        let ended = self.sqs.delete_message().queue_url(url).receipt_handle("none").send().await;
        self.note(format!("DeleteMessage {name}"), ended);
        let ended = self
            .sqs
            .change_message_visibility()
            .queue_url(url)
            .receipt_handle("none")
            .visibility_timeout(0)
            .send()
            .await;
        self.note(format!("ChangeMessageVisibility {name}"), ended);
        let ended = self.sqs.get_queue_attributes().queue_url(url).send().await;
        self.note(format!("GetQueueAttributes {name}"), ended);
        let ended = self.sqs.list_dead_letter_source_queues().queue_url(url).send().await;
        self.note(format!("ListDeadLetterSourceQueues {name}"), ended);
    }

    async fn tries_key(&mut self) {
        for (label, place) in self.places() {
            let call = self.kms.decrypt().ciphertext_blob(self.ciphertexts[&place].clone());
            let ended = call.set_encryption_context(Some(self.context(place))).send().await;
            self.note(format!("Decrypt {label}"), ended);
            let ended = self.encrypt(&self.kms, place).await;
            self.note(format!("Encrypt {label}"), ended);
        }
        let ended = self.kms.encrypt().key_id(&self.key).plaintext(Blob::new("secret")).send().await;
        self.note("Encrypt without a context".into(), ended);
        let ended = self.kms.describe_key().key_id(&self.key).send().await;
        self.note("DescribeKey".into(), ended);
        let ended = self.kms.get_key_policy().key_id(&self.key).send().await;
        self.note("GetKeyPolicy".into(), ended);
        let ended = self.kms.enable_key_rotation().key_id(&self.key).send().await;
        self.note("EnableKeyRotation".into(), ended);
        let ended = self.kms.list_keys().send().await;
        self.note("ListKeys".into(), ended);
        let ended = self.kms.create_key().send().await;
        self.note("CreateKey".into(), ended);
    }

    async fn tries_others(&mut self) {
        let ended = self.sts.assume_role().role_arn(&self.role).role_session_name("again").send().await;
        self.note("AssumeRole".into(), ended);
        let ended = self.lambda.list_functions().send().await;
        self.note("ListFunctions".into(), ended);
        let ended = self.lambda.invoke().function_name("hoopoe-inference").send().await;
        self.note("Invoke".into(), ended);
        let ended = self.cloudformation.describe_stacks().send().await;
        self.note("DescribeStacks".into(), ended);
        let ended = self.sqs.list_queues().send().await;
        self.note("ListQueues".into(), ended);
        let ended = self.dynamodb.list_tables().send().await;
        self.note("ListTables".into(), ended);
    }
}
