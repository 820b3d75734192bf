//! What sigma-rust says of rules and records: a family a line on standard input, its matches a line on standard output.
use serde_json::{json, Value};
use std::io::{stdin, stdout, BufRead, Write};

/// For a rule the numbers of the records that match; null when sigma-rust cannot read the rule.
fn matches(rule: &Value, events: &[Value]) -> Value {
    let Ok(rule) = sigma_rust::rule_from_yaml(&rule.to_string()) else {
        return Value::Null;
    };
    let found = events.iter().enumerate().filter(|(_, event)| {
        sigma_rust::event_from_json(&event.to_string()).is_ok_and(|event| rule.is_match(&event))
    });
    json!(found.map(|(number, _)| number).collect::<Vec<_>>())
}

fn main() {
    if std::env::args().any(|one| one == "--version") {
        println!("sigma-rust 0.7.0");
        return;
    }
    for line in stdin().lock().lines() {
        let family: Value = serde_json::from_str(&line.expect("a line")).expect("JSON");
        let list = |name: &str| family[name].as_array().expect("a list").clone();
        let events = list("events");
        let answer: Vec<Value> = list("rules").iter().map(|rule| matches(rule, &events)).collect();
        writeln!(stdout(), "{}", json!(answer)).expect("standard output");
    }
}
