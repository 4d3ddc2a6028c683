//! `CUSTOM_DATA`: a JSON object that the receiver can take.

use serde_json::{Map, Value};

use super::env::Mistakes;

/// Levels of `CUSTOM_DATA`: the receiver takes 32, and three are around it.
const DEEPEST: usize = 29;

pub(super) fn read(text: Option<&str>, wrong: &mut Mistakes) -> Option<Map<String, Value>> {
    let Some(text) = text else {
        return Some(Map::new());
    };
    let parsed = serde_json::from_str(text);
    if let Ok(value) = &parsed
        && let Some((what, fix)) = unsendable(value, 1)
    {
        wrong.add("CUSTOM_DATA", what, fix);
    }
    match parsed {
        Ok(Value::Object(map)) => Some(map),
        Ok(_) => {
            wrong.add("CUSTOM_DATA", "is JSON, but not an object", "give an object such as `{\"ticket\": \"OPS-1\"}`");
            None
        }
        Err(error) => {
            wrong.add(
                "CUSTOM_DATA",
                format!("is not JSON: {error}"),
                "try it with `jq`, and quote it whole in single quotes: Pipelines passes values through a shell",
            );
            None
        }
    }
}

/// Return what the receiver would refuse in a value, and what mends it: it takes only what every reader of JSON reads alike (RFC 7493).
fn unsendable(value: &Value, level: usize) -> Option<(&'static str, &'static str)> {
    const NUL: (&str, &str) = ("has a NUL character", "leave it out: no database would take it");
    let mut children: Box<dyn Iterator<Item = &Value>> = match value {
        Value::String(text) => return text.contains('\0').then_some(NUL),
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) if members.keys().any(|name| name.contains('\0')) => return Some(NUL),
        Value::Object(members) => Box::new(members.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) => return None,
    };
    if level > DEEPEST {
        return Some(("is nested too deep", "nest at most 29 levels"));
    }
    children.find_map(|child| unsendable(child, level + 1))
}
