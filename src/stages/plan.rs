//! What a pipeline is about to do, as a table.

use super::State;
use crate::table::{NO_VALUE, Table};

/// A stage and what is to be done for it.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStage {
    /// Its name, that of its folder.
    pub name: String,
    /// What it does, in a few words.
    pub does: String,
    /// How far it is.
    pub state: State,
    /// Seconds that what is left of it will take; none when nothing is known. Not looked at for a stage that is done.
    pub estimate_s: Option<f64>,
}

impl PlannedStage {
    fn is_done(&self) -> bool {
        matches!(self.state, State::Done { .. })
    }

    fn state_text(&self) -> String {
        match &self.state {
            State::Done { .. } => "done".into(),
            State::Interrupted => "goes on".into(),
            State::Changed(names) => format!("again: {} changed", names.join(", ")),
            State::New => "to do".into(),
        }
    }

    fn time_text(&self) -> String {
        match (self.is_done(), self.estimate_s) {
            (true, _) => NO_VALUE.into(),
            (false, None) => "unknown".into(),
            (false, Some(seconds)) => human_time(seconds),
        }
    }
}

/// The stages of a pipeline in their order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan(pub Vec<PlannedStage>);

impl Plan {
    /// A row for each stage with the time that is left, and a last one with the total.
    pub fn to_table(&self) -> Table {
        let mut table = Table::new(["stage", "what it does", "state", "time"]);
        for stage in &self.0 {
            table.row([stage.name.clone(), stage.does.clone(), stage.state_text(), stage.time_text()]);
        }
        table.row(["total".into(), String::new(), String::new(), self.total_text()]);
        table
    }

    fn total_text(&self) -> String {
        let left: Vec<Option<f64>> =
            self.0.iter().filter(|stage| !stage.is_done()).map(|stage| stage.estimate_s).collect();
        let known: Vec<f64> = left.iter().flatten().copied().collect();
        match (left.len(), known.len()) {
            (0, _) => NO_VALUE.into(),
            (_, 0) => "unknown".into(),
            (all, some) if some < all => format!("more than {}", human_time(known.iter().sum())),
            _ => human_time(known.iter().sum()),
        }
    }
}

/// A time to be read, in two units at most: "under 1 min", "3 min", "2 h 10 min", "3 d 4 h". `seconds` is at least 0.
pub fn human_time(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    let hours = (seconds / 3600.0).round() as u64;
    match (minutes, hours) {
        (0, _) => "under 1 min".into(),
        (..60, _) => format!("{minutes} min"),
        (60..1440, _) => format!("{} h {} min", minutes / 60, minutes % 60),
        _ => format!("{} d {} h", hours / 24, hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &str, state: State, estimate_s: Option<f64>) -> PlannedStage {
        PlannedStage { name: name.into(), does: format!("makes {name}"), state, estimate_s }
    }

    #[test]
    fn a_plan_says_what_is_left_and_how_long_it_takes() {
        let mut plan = Plan(vec![
            stage("translator", State::Done { seconds: 9000.0 }, Some(9000.0)),
            stage("translated", State::Interrupted, Some(200.0)),
            stage("model", State::Changed(vec!["images".into(), "settings".into()]), Some(7600.0)),
        ]);
        let expected = [
            " stage        what it does       state                                   time",
            "──────────────────────────────────────────────────────────────────────────────",
            " translator   makes translator   done                                       –",
            " translated   makes translated   goes on                                3 min",
            " model        makes model        again: images, settings changed    2 h 7 min",
            " total                                                             2 h 10 min",
        ]
        .join("\n");
        assert_eq!(plan.to_table().to_string(), expected);
        plan.0.push(stage("masks", State::New, None));
        let table = plan.to_table().to_string();
        assert!(table.contains("to do") && table.ends_with("more than 2 h 10 min"), "{table}");
    }

    #[test]
    fn a_total_is_not_made_up() {
        let total = |stages: &[PlannedStage]| Plan(stages.to_vec()).total_text();
        let done = stage("translator", State::Done { seconds: 9.0 }, Some(9.0));
        assert_eq!(total(std::slice::from_ref(&done)), NO_VALUE);
        assert_eq!(total(&[done, stage("model", State::New, None)]), "unknown");
    }

    #[test]
    fn times_have_two_units_at_most() {
        let texts = [0.0, 29.0, 31.0, 3569.0, 3571.0, 7800.0, 86_369.0, 86_371.0, 273_600.0].map(human_time);
        let expected = [
            "under 1 min",
            "under 1 min",
            "1 min",
            "59 min",
            "1 h 0 min",
            "2 h 10 min",
            "23 h 59 min",
            "1 d 0 h",
            "3 d 4 h",
        ];
        assert_eq!(texts, expected);
    }
}
