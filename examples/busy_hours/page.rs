//! The page: words around the pictures, without scripts.

use std::fmt::Write;

use crate::picture;
use crate::replay::{Method, Replay};
use crate::trace::Trace;

pub(crate) fn html(trace: &Trace, replay: &Replay, about: &str) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>Busy hours</title><style>{STYLE}</style>\
         <h1>When this load is low, and who knew</h1><p>{}</p>",
        escape(about)
    );
    page.push_str(&table(replay));
    let sections = [
        (
            "The last days",
            "What was seen, what had been expected at each midnight with the band in which two of three hours should \
             lie, and where each method put the day's backup. Shaded: alarms, when the load was higher than is usual \
             at its hour.",
            picture::days(trace, replay),
        ),
        (
            "The learned week",
            "What the scheduler expects of each hour of the coming week, from 384 bytes.",
            picture::week(replay),
        ),
        (
            "What each choice met",
            "Load while the day's backup ran, in multiples of that day's mean: lower is better, 1 is no better than \
             chance.",
            picture::choices(trace, replay),
        ),
    ];
    for (title, words, svg) in sections {
        let _ = write!(page, "<h2>{title}</h2><p>{words}</p><div class=\"wide\">{svg}</div>");
    }
    page + "</html>\n"
}

fn table(replay: &Replay) -> String {
    let best = replay.mean(Method::Hindsight);
    let mut html = String::from(
        "<table><tr><th>When the day's backup starts</th><th>Load while it runs</th><th>Above the best</th></tr>",
    );
    for method in Method::EACH {
        let mean = replay.mean(method);
        let above = if best > 0.0 { (mean / best - 1.0) * 100.0 } else { 0.0 };
        let (class, title) = (method.class(), method.title());
        let _ = write!(
            html,
            "<tr><td><i class=\"{class}\"></i>{title}</td><td>{}</td><td>{above:.0} %</td></tr>",
            picture::short(mean)
        );
    }
    html + "</table>"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

const STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:1040px;margin:2rem auto;padding:0 1rem}\
.wide{overflow-x:auto}svg{width:100%;min-width:680px;height:auto;border-radius:6px}\
table{border-collapse:collapse;margin:.5rem 0}th,td{padding:.2rem .8rem;text-align:right;border-bottom:1px solid #8884}\
th:first-child,td:first-child{text-align:left}i{display:inline-block;width:.8em;height:.8em;margin-right:.5em}\
i.planned{background:#2a7fb8}i.fixed{background:#d1495b}i.previous{background:#d99a2b}i.best{background:#777}";
