//! The description may grow but not break: whatever a client of a released version relies on is still there. The baseline
//! is `docs/openapi-v1.json`; what changed at all is seen in the snapshot of `surface.rs`.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::support::TestApp;

const BASELINE: &str = include_str!("../../../docs/openapi-v1.json");

const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// Which way a shape travels: clients send the one and read the other, so they break by different changes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Request,
    Response,
}

struct Comparison<'a> {
    old: &'a Value,
    new: &'a Value,
    found: Vec<String>,
    /// Pairs of references that were compared, so that shapes that contain themselves end.
    seen: BTreeSet<(String, String, bool)>,
}

/// Every change from `old` to `new` that can break a client, as sentences.
fn breaking_changes(old: &Value, new: &Value) -> Vec<String> {
    let mut comparison = Comparison { old, new, found: Vec::new(), seen: BTreeSet::new() };
    for (path, methods) in entries(&old["paths"]) {
        for method in METHODS.iter().filter(|method| methods.get(**method).is_some()) {
            let here = format!("{} {path}", method.to_uppercase());
            let (before, after) = (&old["paths"][path][*method], &new["paths"][path][*method]);
            match after.is_null() {
                true => comparison.found.push(format!("{here} is gone")),
                false => comparison.operation(&here, before, after),
            }
        }
    }
    comparison.found
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The types a schema allows; none stands for any.
fn types(schema: &Value) -> BTreeSet<String> {
    match &schema["type"] {
        Value::String(one) => BTreeSet::from([one.clone()]),
        Value::Array(several) => several.iter().filter_map(Value::as_str).map(ToOwned::to_owned).collect(),
        _ => BTreeSet::new(),
    }
}

impl<'a> Comparison<'a> {
    fn say(&mut self, here: &str, what: &str) {
        self.found.push(format!("{here}: {what}"));
    }

    fn operation(&mut self, here: &str, old: &'a Value, new: &'a Value) {
        if old["operationId"] != new["operationId"] {
            self.say(here, "its name is another");
        }
        let needs = |operation: &Value| operation["security"].clone();
        if needs(old) != needs(new) {
            self.say(here, "it needs another permission");
        }
        self.parameters(here, old, new);
        let (before, after) = (&old["requestBody"], &new["requestBody"]);
        let required = |body: &Value| body["required"] == json!(true);
        if !before.is_null() && after.is_null() {
            self.say(here, "it takes no body any more");
        }
        if required(after) && !required(before) {
            self.say(here, "it needs a body now");
        }
        self.contents(here, before, after, Way::Request);
        for (status, answer) in entries(&old["responses"]) {
            let after = &new["responses"][status];
            if after.is_null() {
                self.say(here, &format!("it answers no {status} any more"));
            }
            let (answer, after) = (resolve(self.old, answer), resolve(self.new, after));
            self.contents(&format!("{here} {status}"), answer, after, Way::Response);
        }
    }

    fn parameters(&mut self, here: &str, old: &'a Value, new: &'a Value) {
        let find = |operation: &'a Value, wanted: &Value| {
            items(&operation["parameters"]).find(|one| one["name"] == wanted["name"] && one["in"] == wanted["in"])
        };
        for before in items(&old["parameters"]) {
            match find(new, before) {
                None => self.say(here, &format!("the parameter {} is gone", before["name"])),
                Some(after) => {
                    if after["required"] == json!(true) && before["required"] != json!(true) {
                        self.say(here, &format!("the parameter {} is needed now", before["name"]));
                    }
                    let place = format!("{here} {}", before["name"]);
                    self.schema(&place, &before["schema"], &after["schema"], Way::Request);
                }
            }
        }
        for after in items(&new["parameters"]) {
            if after["required"] == json!(true) && find(old, after).is_none() {
                self.say(here, &format!("the parameter {} is new and needed", after["name"]));
            }
        }
    }

    fn contents(&mut self, here: &str, old: &'a Value, new: &'a Value, way: Way) {
        for (kind, content) in entries(&old["content"]) {
            let after = &new["content"][kind];
            match after.is_null() && !new.is_null() {
                true => self.say(here, &format!("{kind} is gone")),
                false => self.schema(here, &content["schema"], &after["schema"], way),
            }
        }
    }

    fn schema(&mut self, here: &str, old: &'a Value, new: &'a Value, way: Way) {
        if let (Some(before), Some(after)) = (old["$ref"].as_str(), new["$ref"].as_str())
            && !self.seen.insert((before.to_owned(), after.to_owned(), way == Way::Request))
        {
            return;
        }
        let (old, new) = (resolve(self.old, old), resolve(self.new, new));
        if old.is_null() || new.is_null() {
            return;
        }
        self.alternatives(here, old, new, way);
        let (before, after) = (types(old), types(new));
        // A request may take more than before, an answer be less; never the other way round.
        let (wide, narrow) = if way == Way::Request { (&after, &before) } else { (&before, &after) };
        if !wide.is_empty() && (narrow.is_empty() || !narrow.is_subset(wide)) {
            self.say(here, &format!("its type was {before:?} and is {after:?}"));
        }
        let words = |schema: &Value| items(&schema["enum"]).map(ToString::to_string).collect::<BTreeSet<String>>();
        let (before, after) = (words(old), words(new));
        if way == Way::Request && !after.is_empty() && (before.is_empty() || !before.is_subset(&after)) {
            self.say(here, "it takes fewer words");
        }
        if way == Way::Request {
            for (bound, grew) in
                [("maxLength", false), ("maxItems", false), ("maximum", false), ("minLength", true), ("minimum", true)]
            {
                let (before, after) = (old[bound].as_f64(), new[bound].as_f64());
                let tighter = after.is_some_and(|after| {
                    before.is_none_or(|before| if grew { after > before } else { after < before })
                });
                if tighter {
                    self.say(here, &format!("its {bound} is tighter"));
                }
            }
        }
        self.schema(&format!("{here}[]"), &old["items"], &new["items"], way);
        self.fields(here, old, new, way);
    }

    fn alternatives(&mut self, here: &str, old: &'a Value, new: &'a Value, way: Way) {
        for word in ["oneOf", "anyOf", "allOf"] {
            let (before, after): (Vec<_>, Vec<_>) = (items(&old[word]).collect(), items(&new[word]).collect());
            if before.len() != after.len() {
                self.say(here, "its alternatives are others");
            }
            for (before, after) in before.into_iter().zip(after) {
                self.schema(here, before, after, way);
            }
        }
    }

    fn fields(&mut self, here: &str, old: &'a Value, new: &'a Value, way: Way) {
        let required =
            |schema: &Value| items(&schema["required"]).map(ToString::to_string).collect::<BTreeSet<String>>();
        let (needed_before, needed_after) = (required(old), required(new));
        for (name, before) in entries(&old["properties"]) {
            let after = &new["properties"][name];
            match after.is_null() {
                true => self.say(here, &format!("the field {name} is gone")),
                false => self.schema(&format!("{here}.{name}"), before, after, way),
            }
        }
        let (moved, what) = match way {
            Way::Request => (needed_after.difference(&needed_before), "is needed now"),
            Way::Response => (needed_before.difference(&needed_after), "may be missing now"),
        };
        for name in moved {
            self.found.push(format!("{here}: the field {name} {what}"));
        }
    }
}

/// What a reference stands for.
fn resolve<'a>(document: &'a Value, value: &'a Value) -> &'a Value {
    match value["$ref"].as_str().and_then(|pointer| document.pointer(pointer.trim_start_matches('#'))) {
        Some(found) => found,
        None => value,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_a_client_relies_on_is_gone() {
    let app = TestApp::start_empty().await;
    let now = app.anonymous().get("/api/v1/openapi.json").await.json();
    let baseline: Value = serde_json::from_str(BASELINE).expect("JSON");
    let operations: usize =
        entries(&baseline["paths"]).map(|(_, methods)| methods.as_object().map_or(0, Map::len)).sum();
    assert!(operations >= 17, "the baseline describes only {operations} operations");
    assert_eq!(breaking_changes(&baseline, &now), Vec::<String>::new());
}

/// What the test above would see, one change at a time; and what it lets pass.
#[test]
fn a_change_that_breaks_is_told_from_one_that_does_not() {
    let document = json!({
        "paths": { "/things": { "post": {
            "operationId": "create_thing",
            "security": [{ "service_token": ["things.write"] }],
            "parameters": [{ "name": "limit", "in": "query", "required": false, "schema": { "type": "integer", "maximum": 100 } }],
            "requestBody": { "required": true, "content": { "application/json": { "schema": { "$ref": "#/components/schemas/In" } } } },
            "responses": { "201": { "content": { "application/json": { "schema": { "$ref": "#/components/schemas/Out" } } } } },
        } } },
        "components": { "schemas": {
            "In": { "type": "object", "required": ["name"], "properties": {
                "name": { "type": "string", "maxLength": 100 }, "kind": { "type": ["string", "null"], "enum": ["a", "b"] },
            } },
            "Out": { "type": "object", "required": ["id"], "properties": {
                "id": { "type": "string" }, "parts": { "type": "array", "items": { "$ref": "#/components/schemas/Out" } },
                "note": { "type": ["string", "null"] },
            } },
        } },
    });
    let operation = "/paths/~1things/post";
    let breaking: [(&str, Value); 16] = [
        ("/paths", json!({})),
        (&format!("{operation}/operationId"), json!("make_thing")),
        (&format!("{operation}/security"), json!([{ "service_token": ["things.own"] }])),
        (&format!("{operation}/parameters"), json!([])),
        (&format!("{operation}/parameters/0/required"), json!(true)),
        (&format!("{operation}/parameters/0/schema/maximum"), json!(50)),
        (&format!("{operation}/requestBody"), Value::Null),
        (&format!("{operation}/responses/201"), Value::Null),
        ("/components/schemas/In/required", json!(["name", "kind"])),
        ("/components/schemas/In/properties/name/maxLength", json!(99)),
        ("/components/schemas/In/properties/kind/type", json!("string")),
        ("/components/schemas/In/properties/kind/enum", json!(["a"])),
        ("/components/schemas/Out/required", json!([])),
        ("/components/schemas/Out/properties/id", Value::Null),
        ("/components/schemas/Out/properties/id/type", json!(["string", "null"])),
        ("/components/schemas/Out/properties/parts/items", json!({ "type": "string" })),
    ];
    for (pointer, value) in breaking {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).expect("a place") = value;
        assert!(!breaking_changes(&document, &changed).is_empty(), "{pointer}");
    }
    let harmless = [
        ("/components/schemas/In/required", json!([])),
        ("/components/schemas/In/properties/name/maxLength", json!(200)),
        ("/components/schemas/In/properties/kind/enum", json!(["a", "b", "c"])),
        ("/components/schemas/Out/required", json!(["id", "note"])),
        ("/components/schemas/Out/properties/note/type", json!("string")),
        (&format!("{operation}/parameters/0/schema/maximum") as &str, json!(200)),
    ];
    for (pointer, value) in harmless {
        let mut changed = document.clone();
        *changed.pointer_mut(pointer).expect("a place") = value;
        assert_eq!(breaking_changes(&document, &changed), Vec::<String>::new(), "{pointer}");
    }
    let mut grown = document.clone();
    grown["paths"]["/others"] = json!({ "get": { "responses": {} } });
    grown["components"]["schemas"]["In"]["properties"]["more"] = json!({ "type": "string" });
    grown["components"]["schemas"]["Out"]["properties"]["more"] = json!({ "type": "string" });
    assert_eq!(breaking_changes(&document, &grown), Vec::<String>::new());
}
