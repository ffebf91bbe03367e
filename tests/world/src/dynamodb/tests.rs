use super::*;

fn call(db: &DynamoDb, operation: &str, request: Json) -> (u16, Json, f64, f64) {
    let done = db.call(operation, request.to_string().as_bytes()).expect("a call that is known");
    (done.status, serde_json::from_slice(&done.body).expect("JSON"), done.read_units, done.write_units.iter().sum())
}

/// As `Claims::claim` writes it.
fn claim(event: &str) -> Json {
    json!({
        "TableName": "claims", "Key": {"conversation": {"S": "c"}},
        "UpdateExpression": "SET #next = if_not_exists(#next, :zero) + :one, #event = if_not_exists(#next, :zero) + :one",
        "ConditionExpression": "attribute_not_exists(#event)",
        "ExpressionAttributeNames": {"#next": "next", "#event": event},
        "ExpressionAttributeValues": {":zero": {"N": "0"}, ":one": {"N": "1"}},
        "ReturnValues": "ALL_OLD", "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    })
}

#[test]
fn a_claim_counts_and_a_second_one_fails_with_the_item() {
    let db = DynamoDb::default();
    assert_eq!(call(&db, "UpdateItem", claim("m:1")), (200, json!({}), 0.0, 1.0));
    let (_, answer, ..) = call(&db, "UpdateItem", claim("m:2"));
    assert_eq!(answer["Attributes"]["next"], json!({"N": "1"}));
    let (status, answer, _, units) = call(&db, "UpdateItem", claim("m:1"));
    assert_eq!((status, &answer["Item"]["m:1"], units), (400, &json!({"N": "1"}), 1.0));
    assert!(answer["__type"].as_str().is_some_and(|kind| kind.ends_with("#ConditionalCheckFailedException")));
    assert_eq!(answer["Item"]["next"], json!({"N": "2"}));
}

#[test]
fn units_go_by_the_size_of_each_item() {
    let db = DynamoDb::default();
    let put = |bytes: usize| json!({"TableName": "sessions", "Item": {"conversation": {"S": "c"}, "state": {"S": "x".repeat(bytes)}}});
    assert_eq!(call(&db, "PutItem", put(5000)).3, 5.0);
    assert_eq!(call(&db, "PutItem", put(10)).3, 5.0, "the larger one counts");
    call(&db, "PutItem", put(5000));
    let keys = json!([{"conversation": {"S": "c"}}, {"conversation": {"S": "none"}}]);
    let get = json!({"RequestItems": {"sessions": {"Keys": keys, "ConsistentRead": true}}});
    let (_, answer, units, _) = call(&db, "BatchGetItem", get);
    assert_eq!((answer["Responses"]["sessions"].as_array().map(Vec::len), units), (Some(1), 3.0));
}

#[test]
fn a_query_reads_its_partition_and_filters_after() {
    let db = DynamoDb::default();
    for (version, sealed) in [(0, false), (1, true), (2, false)] {
        let mut item = json!({"key": {"S": "k"}, "version": {"N": version.to_string()}});
        if sealed {
            item["ciphertext"] = json!({"B": "AAAA"});
        }
        db.seed("keys", item);
    }
    let query = json!({
        "TableName": "keys", "ConsistentRead": true, "KeyConditionExpression": "#key = :key",
        "FilterExpression": "attribute_exists(#ciphertext)",
        "ExpressionAttributeNames": {"#key": "key", "#ciphertext": "ciphertext"},
        "ExpressionAttributeValues": {":key": {"S": "k"}},
    });
    let (_, answer, units, _) = call(&db, "Query", query.clone());
    assert_eq!((answer["Count"].as_u64(), answer["ScannedCount"].as_u64(), units), (Some(1), Some(3), 1.0));
    let mut by_key = query;
    by_key["FilterExpression"] = json!("attribute_exists(#ciphertext) OR #key = :key");
    assert!(refusal(&db, "Query", &by_key).contains("non-primary key attributes"));
}

#[test]
fn pages_end_anywhere_and_lead_to_the_next() {
    let db = DynamoDb::default();
    for seq in 0..5 {
        db.seed("transcripts", json!({"conversation": {"S": "c"}, "seq": {"N": seq.to_string()}}));
    }
    let mut query = json!({
        "TableName": "transcripts", "KeyConditionExpression": "#c = :c",
        "ExpressionAttributeNames": {"#c": "conversation"}, "ExpressionAttributeValues": {":c": {"S": "c"}},
    });
    let (mut seen, mut pages) = (0, 0);
    loop {
        let mut moment = Moment { now: 0, leaves: &mut || true };
        let done = db.call_at("Query", query.to_string().as_bytes(), &mut moment).expect("a query");
        let answer: Json = serde_json::from_slice(&done.body).expect("JSON");
        (seen, pages) = (seen + answer["Count"].as_u64().unwrap_or(0), pages + 1);
        match answer.get("LastEvaluatedKey") {
            Some(last) => query["ExclusiveStartKey"] = last.clone(),
            None => break,
        }
    }
    assert_eq!((seen, pages), (5, 5));
}

fn refusal(db: &DynamoDb, operation: &str, request: &Json) -> String {
    db.call(operation, request.to_string().as_bytes()).expect_err("it is refused")
}

#[test]
fn what_the_real_one_refuses_is_refused() {
    let db = DynamoDb::default();
    let put = |item: Json| json!({"TableName": "sessions", "Item": item});
    for (item, why) in [
        (json!({"conversation": {"S": ""}}), "key"),
        (json!({"conversation": {"N": "1"}}), "key"),
        (json!({"conversation": {"S": "x".repeat(2049)}}), "key"),
        (json!({"state": {"S": "x"}}), "key"),
        (json!({"conversation": {"S": "c"}, "state": {"S": "x".repeat(400 * 1024)}}), "size"),
        (json!({"conversation": {"S": "c"}, "version": {"N": "NaN"}}), "numeric"),
        (json!({"conversation": {"S": "c"}, "": {"S": "x"}}), "name"),
    ] {
        let refused = refusal(&db, "PutItem", &put(item));
        assert!(refused.contains(why), "{refused}");
    }
    let mut unused = claim("e");
    unused["ExpressionAttributeNames"]["#other"] = json!("x");
    assert!(refusal(&db, "UpdateItem", &unused).contains("unused"));
    let mut missing = claim("e");
    missing["ExpressionAttributeValues"] = json!({":one": {"N": "1"}});
    assert!(refusal(&db, "UpdateItem", &missing).contains("not defined"));
    let mut long = claim("e");
    long["ConditionExpression"] = json!(format!("attribute_not_exists(#event){}", " ".repeat(4096)));
    assert!(refusal(&db, "UpdateItem", &long).contains("4096"));
    let mut key = claim("conversation");
    key["ConditionExpression"] = json!("attribute_exists(#event)");
    assert!(refusal(&db, "UpdateItem", &key).contains("part of the key"));
    assert_eq!(db.items("sessions", 0).len() + db.items("claims", 0).len(), 0, "nothing was written");
}

#[test]
fn an_expired_item_stays_for_a_while_or_goes_at_once() {
    for (at_once, longest, there_at) in [(100, 0, 99), (0, 0, 99)] {
        let random = fastrand::Rng::with_seed(1);
        let db = DynamoDb::new(Expiry::Random { random, at_once, longest });
        db.seed("sessions", json!({"conversation": {"S": "c"}, "expires_at": {"N": "100"}}));
        assert_eq!((db.items("sessions", there_at).len(), db.items("sessions", 100).len()), (1, 0));
    }
    let db = DynamoDb::new(Expiry::Random { random: fastrand::Rng::with_seed(1), at_once: 0, longest: 172_800 });
    for item in 0..100 {
        db.seed("sessions", json!({"conversation": {"S": item.to_string()}, "expires_at": {"N": "100"}}));
    }
    let later = db.items("sessions", 100 + 86_400).len();
    assert!((20..80).contains(&later), "{later} of 100 are there after a day");
    assert_eq!(db.items("sessions", 100 + 172_800).len(), 0);
}

#[test]
fn a_transaction_is_all_or_nothing() {
    let db = DynamoDb::default();
    let put = |key: &str| {
        json!({"Put": {"TableName": "keys", "Item": {"key": {"S": key}, "version": {"N": "1"}},
            "ConditionExpression": "attribute_not_exists(#k)", "ExpressionAttributeNames": {"#k": "key"}}})
    };
    let write =
        |items: &[Json]| call(&db, "TransactWriteItems", json!({"TransactItems": items, "ClientRequestToken": "t"}));
    assert_eq!(write(&[put("a")]).3, 2.0);
    let (status, answer, ..) = write(&[put("a"), put("b")]);
    assert_eq!((status, &answer["CancellationReasons"][0]["Code"]), (400, &json!("ConditionalCheckFailed")));
    assert_eq!(db.items("keys", 0).len(), 1);
    assert!(refusal(&db, "TransactWriteItems", &json!({"TransactItems": [put("c"), put("c")]})).contains("one item"));
}

#[test]
fn parts_of_a_batch_may_be_left_undone() {
    let db = DynamoDb::default();
    let mut undone = [true, false].into_iter().cycle();
    let mut leaves = || undone.next().unwrap_or_default();
    let mut moment = Moment { now: 0, leaves: &mut leaves };
    let keys = json!([{"conversation": {"S": "a"}}, {"conversation": {"S": "b"}}]);
    let get = json!({"RequestItems": {"sessions": {"Keys": keys}}}).to_string();
    let done = db.call_at("BatchGetItem", get.as_bytes(), &mut moment).expect("a batch");
    let answer: Json = serde_json::from_slice(&done.body).expect("JSON");
    assert_eq!(answer["UnprocessedKeys"]["sessions"]["Keys"], json!([{"conversation": {"S": "a"}}]));
    let insert =
        |c: &str| json!({"Statement": "INSERT INTO \"sends\" VALUE {'conversation': ?}", "Parameters": [{"S": c}]});
    let batch = json!({"Statements": [insert("a"), insert("b")]}).to_string();
    let done = db.call_at("BatchExecuteStatement", batch.as_bytes(), &mut moment).expect("a batch");
    let answer: Json = serde_json::from_slice(&done.body).expect("JSON");
    assert_eq!(answer["Responses"][0]["Error"]["Code"], "ThrottlingError");
    assert_eq!((db.items("sends", 0).len(), done.write_units), (1, vec![1.0]));
}

#[test]
fn a_statement_names_its_item_by_its_whole_key() {
    let db = DynamoDb::default();
    let batch = json!({"Statements": [{"Statement": r#"UPDATE "keys" SET "a" = ? WHERE "key" = ?"#, "Parameters": [{"N": "1"}, {"S": "k"}]}]});
    let (_, answer, ..) = call(&db, "BatchExecuteStatement", batch);
    assert_eq!(answer["Responses"][0]["Error"]["Code"], "ValidationError");
}

#[test]
fn statements_are_carried_out_each_for_itself() {
    let db = DynamoDb::default();
    let insert = json!({"Statement": "INSERT INTO \"sends\" VALUE {'conversation': ?, 'last': ?}", "Parameters": [{"S": "c"}, {"N": "1"}]});
    let update = |after: &str| {
        json!({
            "Statement": r#"UPDATE "sends" SET "m:1" = ? WHERE "conversation" = ? AND "m:1" IS MISSING AND "last" >= ? RETURNING ALL NEW *"#,
            "Parameters": [{"N": "1"}, {"S": "c"}, {"N": after}]
        })
    };
    let absent = json!({"Statement": r#"UPDATE "sends" SET "last" = ? WHERE "conversation" = ?"#, "Parameters": [{"N": "1"}, {"S": "none"}]});
    let statements = [insert.clone(), insert, update("2"), update("1"), update("1"), absent];
    let (status, answer, _, units) = call(&db, "BatchExecuteStatement", json!({"Statements": statements}));
    assert_eq!((status, units), (200, 6.0));
    let codes: Vec<_> = (0..6).map(|at| answer["Responses"][at]["Error"]["Code"].as_str()).collect();
    let failed = Some("ConditionalCheckFailed");
    assert_eq!(codes, [None, Some("DuplicateItem"), failed, None, failed, failed]);
    assert_eq!(answer["Responses"][3]["Item"]["m:1"], json!({"N": "1"}));
}

#[test]
fn a_call_that_is_not_known_fails() {
    assert!(DynamoDb::default().call("Scan", br#"{"TableName": "keys"}"#).is_err());
    assert!(DynamoDb::default().call("Query", br#"{"TableName": "others"}"#).is_err());
}
