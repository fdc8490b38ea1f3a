//! The tables of the page.

use crate::pseudo::results::{ApproachResult, Results};
use crate::report::ReportTable;
use crate::table::NO_VALUE;

pub(super) fn tables(results: &Results, chosen: &ApproachResult) -> Vec<ReportTable> {
    let mut tables = vec![approaches_table(results, &chosen.classes)];
    let scored: Vec<&ApproachResult> = results.approaches.iter().filter(|result| result.scored.is_some()).collect();
    if !scored.is_empty() {
        tables.push(scores_table(&scored));
    }
    tables
}

fn or_none(value: Option<impl ToString>) -> String {
    value.map_or(NO_VALUE.into(), |value| value.to_string())
}

fn approaches_table(results: &Results, classes: &[String]) -> ReportTable {
    let is_scored = results.approaches.iter().any(|result| result.scored.is_some());
    let mut header = vec!["approach".to_string(), "images".into(), "expected quality".into()];
    header.extend(classes.iter().filter(|_| is_scored).map(|class| format!("Dice {class}")));
    if is_scored {
        header.push("quality against Dice".into());
    }
    let row = |result: &ApproachResult| {
        let mut row = vec![result.approach.title(), result.images.len().to_string(), or_none(result.quality())];
        let of_class = |class: &String| {
            result.scored.as_ref()?.scores.classes.iter().find(|scores| scores.class == *class)?.over_images.dice
        };
        row.extend(classes.iter().filter(|_| is_scored).map(|class| or_none(of_class(class))));
        if is_scored {
            let correlation = result.scored.as_ref().and_then(|scored| scored.quality_against_dice);
            row.push(or_none(
                correlation.map(|correlation| format!("{:.2} (p = {:.3})", correlation.rho, correlation.p)),
            ));
        }
        row
    };
    ReportTable {
        title: "Approaches".into(),
        caption: "Mean ± standard deviation over images. The expected quality is told without the truth; its rank \
                  correlation with the true Dice says whether it orders images rightly."
            .into(),
        header,
        rows: results.approaches.iter().map(row).collect(),
    }
}

fn scores_table(scored: &[&ApproachResult]) -> ReportTable {
    let header =
        ["approach", "class", "images", "Dice", "IoU", "precision", "recall", "object F1", "objects found / true"];
    let mut rows = Vec::new();
    for result in scored {
        for class in result.scored.iter().flat_map(|scored| &scored.scores.classes) {
            let figures = &class.over_images;
            let values = [figures.dice, figures.iou, figures.precision, figures.recall, figures.object_f1];
            let mut row = vec![result.approach.title(), class.class.clone(), class.images.to_string()];
            row.extend(values.map(or_none));
            row.push(format!("{} / {}", class.objects.matched, class.objects.truth));
            rows.push(row);
        }
    }
    ReportTable {
        title: "Scores against the true masks".into(),
        caption:
            "Mean ± standard deviation over images. An object is found when it shares at least half of the union with \
                  a true one."
                .into(),
        header: header.map(String::from).to_vec(),
        rows,
    }
}
