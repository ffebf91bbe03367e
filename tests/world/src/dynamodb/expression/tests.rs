use super::*;

fn number(value: i128) -> Value {
    Value::N(value.to_string())
}

fn placeholders() -> Placeholders {
    let names = [("#a", "a"), ("#b", "b"), ("#m", "m"), ("#x", "x")];
    Placeholders::new(
        names.map(|(placeholder, name)| (placeholder.to_owned(), name.to_owned())).into(),
        [(":0", number(0)), (":1", number(1)), (":s", Value::S("s".into()))]
            .map(|(placeholder, value)| (placeholder.to_owned(), value))
            .into(),
    )
}

fn item() -> Item {
    Item::from([
        ("a".to_owned(), number(1)),
        ("m".to_owned(), Value::M(Item::from([("x".to_owned(), Value::S("s".into()))]))),
    ])
}

fn update(expression: &str, item: &mut Item) -> Result<(), Failure> {
    Update::parse(expression, &placeholders(), Sections::Once)?.apply(item)
}

#[test]
fn conditions_hold_as_the_developer_guide_says() {
    for (condition, expected) in [
        ("attribute_not_exists(#b)", true),
        ("attribute_exists(#b) OR #a = :1", true),
        ("attribute_not_exists(#b) OR #b < :0", true),
        ("#b >= :0", false),
        ("#b < :0", false),
        ("#b <> :0", true),
        ("#a = :s", false),
        ("#a < :s", false),
        ("#m.#x = :s", true),
        ("begins_with(#m.#x, :s)", true),
        ("NOT #a = :1", false),
        ("#a BETWEEN :0 AND :1 AND #a IN (:0, :1)", true),
        ("attribute_not_exists(#a) OR #a <= :0 AND #a = :1", false),
        ("(attribute_not_exists(#a) OR #a <= :1) AND #a = :1", true),
    ] {
        let parsed = Condition::parse(condition, &placeholders()).expect(condition);
        assert_eq!(parsed.holds(&item()), expected, "{condition}");
    }
}

#[test]
fn what_is_not_known_is_an_error() {
    for condition in ["size(#a) > :1", "a = :1", "#a = :1 #b", "#z = :1", "#a = :z", "#a = ", "", "#a[0] = :1"] {
        assert!(Condition::parse(condition, &placeholders()).is_err(), "{condition}");
    }
    for expression in
        ["DELETE #a :1", "SET #a", "SET #a = #b", "SET #a = list_append(#a, :1)", "ADD #m :1", "SET #b.#x = :1"]
    {
        assert!(update(expression, &mut item()).is_err(), "{expression}");
    }
}

#[test]
fn an_update_reads_the_item_as_it_was() {
    let mut changed = item();
    update(
        "SET #a = if_not_exists(#a, :0) + :1, #b = if_not_exists(#a, :0) + :1, #m.#b = #a REMOVE #m.#x ADD #x :1",
        &mut changed,
    )
    .expect("an update");
    let map = Value::M(Item::from([("b".to_owned(), number(1))]));
    let expected = [("a", number(2)), ("b", number(2)), ("m", map), ("x", number(1))];
    assert_eq!(changed, expected.map(|(name, value)| (name.to_owned(), value)).into());
}

#[test]
fn overlapping_paths_are_refused() {
    for expression in
        ["SET #a = :1 REMOVE #a", "SET #m.#x = :1, #m = :s", "REMOVE #m, #m.#x", "ADD #a :1 SET #b = :1, #a = :0"]
    {
        assert!(update(expression, &mut item()).is_err_and(|error| error.contains("overlap")), "{expression}");
    }
    update("SET #m.#x = :1, #m.#b = :1, #x = :1", &mut item()).expect("they are beside each other");
}

#[test]
fn a_section_stands_once_in_an_expression() {
    let twice = "SET #a = :1 SET #b = :1";
    assert!(update(twice, &mut item()).is_err());
    assert!(Update::parse(twice, &placeholders(), Sections::Repeated).is_ok());
}

#[test]
fn each_placeholder_is_used() {
    let some = placeholders();
    Condition::parse("#a = :1", &some).expect("a condition");
    assert!(some.check_used().is_err_and(|error| error.contains("#b")));
    Update::parse("SET #b = :0, #m.#x = :s", &some, Sections::Once).expect("an update");
    assert_eq!(some.check_used(), Ok(()));
}

#[test]
fn a_long_expression_is_refused() {
    assert!(check_length(&"x".repeat(4096)).is_ok() && check_length(&"x".repeat(4097)).is_err());
    let many: Vec<_> = (0..301).map(|_| "#a = :1").collect();
    assert!(Condition::parse(&many.join(" OR "), &placeholders()).is_err());
}
