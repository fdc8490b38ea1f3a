//! What `synlabel tutor`, `adapt` and `compare` show while they run and tell at the end.

use indicatif::ProgressBar;
use synlabel::pseudo::{Event, Results};
use synlabel::stages::{State, human_time};
use synlabel::table::{NO_VALUE, Table};

use super::progress_bar;
use super::pseudo::Finished;
use super::segment_train::Display as ModelDisplay;
use super::train::Display as TranslatorDisplay;

pub fn tell(Finished { results, verdict, published }: &Finished) {
    println!("\n{}\n", approach_table(results));
    for sentence in &verdict.sentences {
        println!("{sentence}");
    }
    if !verdict.look_first.is_empty() {
        println!("\nlook at these first:");
    }
    for image in &verdict.look_first {
        println!("  {}: {}", image.image, image.reason);
    }
    println!("\nreport: {}", published.report.display());
    println!("masks: {}", published.masks.display());
    println!("BIDS derivatives: {}", published.derivatives.display());
    println!("nnU-Net raw data: {}", published.raw_folder.display());
}

/// A row for each approach.
fn approach_table(results: &Results) -> Table {
    let classes: Vec<String> = results.approaches.first().map(|first| first.classes.clone()).unwrap_or_default();
    let header = ["approach".to_string(), "expected quality".into()];
    let is_scored = results.approaches.iter().any(|result| result.scored.is_some());
    let dice = classes.iter().filter(|_| is_scored).map(|class| format!("Dice {class}"));
    let mut table = Table::new(header.into_iter().chain(dice));
    for result in &results.approaches {
        let or_none = |value: Option<String>| value.unwrap_or(NO_VALUE.to_string());
        let of_class = |class: &String| {
            let scores = result.scored.as_ref()?.scores.classes.iter().find(|scores| scores.class == *class)?;
            Some(scores.over_images.dice?.to_string())
        };
        let row = [result.approach.title(), or_none(result.quality().map(|quality| quality.to_string()))];
        table.row(row.into_iter().chain(classes.iter().filter(|_| is_scored).map(|class| or_none(of_class(class)))));
    }
    table
}

/// A line for each stage, and the progress within it.
#[derive(Default)]
pub struct Display {
    translator: Option<TranslatorDisplay>,
    model: Option<ModelDisplay>,
    bar: Option<ProgressBar>,
}

impl Display {
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Stage { place: [number, count], name, does, state } => {
                self.end_stage();
                let state = match state {
                    State::Done { seconds } => format!(" – done before, in {}", human_time(*seconds)),
                    State::Interrupted => " – goes on".into(),
                    State::Changed(inputs) => format!(" – again, since {} changed", inputs.join(", ")),
                    State::New => String::new(),
                };
                eprintln!("[{number}/{count}] {name}: {does}{state}");
            }
            Event::Note(note) => eprintln!("note: {note}"),
            Event::Translator(event) => self.translator.get_or_insert_default().show(event),
            Event::Model(event) => self.model.get_or_insert_default().show(event),
            Event::Progress { done, total, item } => {
                let bar = self.bar.get_or_insert_with(|| progress_bar(Some(total as u64)));
                bar.set_position(done as u64);
                bar.set_message(item.to_string());
            }
        }
    }

    pub fn end_stage(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
        if let Some(display) = self.translator.take() {
            display.end();
        }
        if let Some(display) = self.model.take() {
            display.end();
        }
    }
}
