//! What a Prometheus server answers to an instant query. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One series of an answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Series {
    pub(super) labels: BTreeMap<String, String>,
    /// For when the query was evaluated, in seconds since 1970 by the server's clock.
    pub(super) at: f64,
    pub(super) value: f64,
}

#[derive(Deserialize)]
struct Answer {
    status: String,
    error: Option<String>,
    data: Option<Data>,
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Vector(Vec<Element>),
    Scalar((f64, String)),
    Matrix(serde::de::IgnoredAny),
    String(serde::de::IgnoredAny),
}

#[derive(Deserialize)]
struct Element {
    #[serde(default)]
    metric: BTreeMap<String, String>,
    value: (f64, String),
}

/// The series of an answer; every value is a finite number.
pub(super) fn parse(text: &str) -> Result<Vec<Series>, String> {
    let answer: Answer = serde_json::from_str(text).map_err(|error| {
        let start: String = text.chars().take(80).collect();
        format!("{error}; it starts with {start:?}")
    })?;
    if answer.status != "success" {
        return Err(answer.error.unwrap_or(answer.status));
    }
    let elements = match answer.data {
        Some(Data::Vector(elements)) => elements,
        Some(Data::Scalar(value)) => vec![Element { metric: BTreeMap::new(), value }],
        Some(Data::Matrix(_) | Data::String(_)) => {
            return Err("it is a range or a text; it should be an instant vector or a number".into());
        }
        None => return Err("it has no data".into()),
    };
    let series = elements.into_iter().map(|element| {
        let (at, told) = element.value;
        match told.parse::<f64>() {
            Ok(value) if value.is_finite() && at.is_finite() => {
                Ok(Series { labels: element.metric, at, value })
            }
            Ok(value) => Err(format!("its value is {value}")),
            Err(_) => Err(format!("its value is {told:?}")),
        }
    });
    series.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn vectors_and_scalars_are_read() {
        let text = r#"{"status":"success","data":{"resultType":"vector","result":[
            {"metric":{"device":"eth0","instance":"a:9100"},"value":[1435781451.781,"1.5e3"]},
            {"metric":{"device":"eth1"},"value":[1435781451.781,"0"]}]},"warnings":["x"]}"#;
        let series = parse(text).unwrap();
        assert_eq!((series[0].at, series[0].value), (1_435_781_451.781, 1500.0));
        assert_eq!(series[1].labels["device"], "eth1");
        let scalar = r#"{"status":"success","data":{"resultType":"scalar","result":[1.5,"7"]}}"#;
        assert_eq!(parse(scalar).unwrap()[0].value, 7.0);
    }

    #[test]
    fn what_is_no_number_says_what_it_is() {
        let matrix = r#"{"status":"success","data":{"resultType":"matrix","result":[{"values":[[1,"2"]]}]}}"#;
        assert!(parse(matrix).unwrap_err().contains("a range or a text"));
        assert_eq!(
            parse(r#"{"status":"error","error":"no such function"}"#).unwrap_err(),
            "no such function"
        );
        assert_eq!(parse(r#"{"status":"success"}"#).unwrap_err(), "it has no data");
        assert!(parse("<html>").unwrap_err().contains("starts with \"<html>\""));
    }

    #[test]
    fn fuzzed_answers_are_refused_or_hold_numbers() {
        let read = |bytes: &[u8]| {
            for series in parse(&String::from_utf8_lossy(bytes)).unwrap_or_default() {
                assert!(series.value.is_finite() && series.at.is_finite(), "{series:?}");
            }
        };
        sched_fuzz::Target::new(env!("CARGO_MANIFEST_DIR"), "prometheus").run(read);
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_no_panic(text in "(\\PC|[{}\\[\\]\":,a-z0-9]){0,200}") {
            prop_assert!(parse(&text).is_err());
        }
    }
}
