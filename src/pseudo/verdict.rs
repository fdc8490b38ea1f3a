//! The results in words: which approach to use and why, and which images to look at first.

use super::approach::Approach;
use super::checks::Checked;
use super::pipeline::Pipeline;
use super::results::{ApproachResult, Results};
use crate::metrics::Summary;

/// Dice within which two approaches count as equally good, so that the simpler one is recommended: about the spread
/// between folds that the paper reports, twice.
const SAME: f64 = 0.01;
/// At most so many images are listed to be looked at.
const LISTED: usize = 10;
/// Structure below which a translation is suspicious. Between unrelated images it is about 0, between two drawings of
/// one thing in two looks about 0.8.
pub const SUSPICIOUS_STRUCTURE: f64 = 0.5;

/// An image to look at, and why.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct LookFirst {
    /// Its name.
    pub image: String,
    /// Why.
    pub reason: String,
}

/// What comes out.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct Verdict {
    /// The approach to use.
    pub approach: Approach,
    /// The answer first, then what it rests on.
    pub sentences: Vec<String>,
    /// The images that a person should look at first, the worst first.
    pub look_first: Vec<LookFirst>,
}

impl Verdict {
    /// Says what the results come to; none when no approach was taken.
    pub fn of(results: &Results, pipeline: &Pipeline) -> Option<Self> {
        let candidates: Vec<&ApproachResult> =
            results.approaches.iter().filter(|result| result.approach.is_without_truth()).collect();
        let is_scored = candidates.iter().any(|result| result.dice().is_some());
        let chosen = if is_scored { best_by_dice(&candidates) } else { best_by_quality(&candidates) }?;
        let mut sentences = if is_scored {
            measured(chosen, &candidates, results, pipeline.inputs.scored().len())
        } else {
            guessed(chosen, &candidates)
        };
        sentences.extend(evidence(results));
        sentences.extend(rounds(results));
        sentences.extend(quality_order(chosen));
        Some(Self { approach: chosen.approach, sentences, look_first: look_first(chosen) })
    }
}

/// The best approach by Dice, or a simpler one that is about as good.
fn best_by_dice<'a>(candidates: &[&'a ApproachResult]) -> Option<&'a ApproachResult> {
    let best = candidates.iter().filter_map(|result| result.dice()).fold(f64::NEG_INFINITY, f64::max);
    let is_as_good = |result: &&&ApproachResult| result.dice().is_some_and(|dice| dice >= best - SAME);
    candidates.iter().filter(is_as_good).min_by_key(|result| result.approach.effort()).copied()
}

/// Without the truth only the strategies are weighed: a model can be sure of itself on images that it misreads, and
/// nothing but a translation checks that.
fn best_by_quality<'a>(candidates: &[&'a ApproachResult]) -> Option<&'a ApproachResult> {
    let is_strategy =
        |result: &&&ApproachResult| matches!(result.approach, Approach::Adaptation | Approach::Tutorship { .. });
    let quality = |result: &ApproachResult| result.quality().map_or(0.0, |quality| quality.mean);
    let strategies = candidates.iter().filter(is_strategy);
    let best = strategies.max_by(|a, b| quality(a).total_cmp(&quality(b)));
    best.or(candidates.first()).copied()
}

fn with_classes(result: &ApproachResult) -> String {
    let Some(scored) = &result.scored else { return String::new() };
    let of_class =
        scored.scores.classes.iter().filter_map(|class| Some(format!("{} {}", class.class, class.over_images.dice?)));
    of_class.collect::<Vec<_>>().join(", ")
}

fn measured(chosen: &ApproachResult, candidates: &[&ApproachResult], results: &Results, images: usize) -> Vec<String> {
    let mut sentences = vec![format!(
        "{}: mean Dice {:.3} ({}) against the true masks of {images} image{}.",
        recommendation(chosen, candidates),
        chosen.dice().unwrap_or(f64::NAN),
        with_classes(chosen),
        if images == 1 { "" } else { "s" }
    )];
    let others = candidates.iter().filter(|result| result.approach != chosen.approach);
    let mut others: Vec<(&&ApproachResult, f64)> = others.filter_map(|result| Some((result, result.dice()?))).collect();
    others.sort_by(|a, b| b.1.total_cmp(&a.1));
    if let Some((second, dice)) = others.first() {
        let how = match dice - chosen.dice().unwrap_or(0.0) {
            more if more > 0.0 => format!("is better by {more:.3} only, and takes more"),
            less => format!("comes next, {:.3} lower", -less),
        };
        sentences.push(format!("{} {how} ({:.3}).", capitalised(&second.approach.title()), dice));
    }
    let strategy =
        |result: &ApproachResult| matches!(result.approach, Approach::Adaptation | Approach::Tutorship { .. });
    let best_strategy = candidates.iter().filter(|result| strategy(result)).filter_map(|result| result.dice());
    let best_strategy = best_strategy.fold(f64::NEG_INFINITY, f64::max);
    if !strategy(chosen) && best_strategy.is_finite() {
        sentences
            .push(format!("SynDiff did not pay here: the better of its two strategies reaches {best_strategy:.3}."));
    }
    if let Some(dice) = results.of(Approach::Supervised).and_then(ApproachResult::dice) {
        sentences.push(format!(
            "A model that learnt from true masks of the target reaches {dice:.3}: {:.3} are lost without them.",
            dice - chosen.dice().unwrap_or(0.0)
        ));
    }
    if images < 5 {
        sentences.push(format!(
            "{images} image{} cannot tell small differences from chance.",
            if images == 1 { "" } else { "s" }
        ));
    }
    sentences
}

fn recommendation(chosen: &ApproachResult, candidates: &[&ApproachResult]) -> String {
    let title = chosen.approach.title();
    if candidates.len() > 1 { format!("Use {title}") } else { capitalised(&title) }
}

fn guessed(chosen: &ApproachResult, candidates: &[&ApproachResult]) -> Vec<String> {
    let quality = chosen.quality();
    let images = chosen.images.len();
    let found = quality.map_or(0, |quality| quality.n);
    let mut sentences = vec![match quality {
        Some(quality) => format!(
            "{}: masks of {images} images, of an expected quality of {quality} (0 to 1).",
            recommendation(chosen, candidates)
        ),
        None => format!("{}: nothing was found in any of the {images} images.", capitalised(&chosen.approach.title())),
    }];
    if found < images && found > 0 {
        sentences.push(format!("Nothing was found in {} images.", images - found));
    }
    sentences.push(
        "No true masks were given, so this is a guess from how far draws, networks and mirrored looks agree and from what \
         the translations kept. Masks of a few target images, given with --truth, would settle it."
            .into(),
    );
    sentences
}

/// What was seen of the translations and of the models on them.
fn evidence(results: &Results) -> Vec<String> {
    let mut sentences = Vec::new();
    let sets = [(&results.translated_labelled, "labelled"), (&results.translated_target, "target")];
    for (set, name) in sets {
        let scores: Vec<f64> = set.iter().filter_map(|image| image.structure()).collect();
        let Some(summary) = Summary::of(&scores) else { continue };
        let low = scores.iter().filter(|score| **score < SUSPICIOUS_STRUCTURE).count();
        sentences.push(format!(
            "Translations of {name} images kept their structures to {summary} (unrelated images: about 0){}.",
            if low > 0 {
                format!("; {low} of {} are below {SUSPICIOUS_STRUCTURE}", scores.len())
            } else {
                String::new()
            }
        ));
    }
    let of_proxy = match results.proxies {
        1 => "in the translations that it learnt from, the proxy model found",
        _ => "in translations that they did not learn from, the proxy models found",
    };
    sentences.extend(objects(&results.checked_by_proxy, of_proxy));
    sentences
        .extend(objects(&results.checked_there_and_back, "after there and back, the model of the labelled look found"));
    if let Some(agreement) = results.agreement_of_strategies {
        sentences.push(format!(
            "The masks of adaptation and of tutorship, made in two different ways, agree to a Dice of {agreement:.3}."
        ));
    }
    sentences
}

fn objects(checked: &[Checked], how: &str) -> Option<String> {
    let all = || checked.iter().flat_map(|image| &image.objects);
    let dice = Summary::of(&all().filter_map(|check| check.dice).collect::<Vec<_>>())?;
    let [kept, lost, invented] =
        all().fold([0, 0, 0], |[k, l, i], check| [k + check.kept, l + check.lost, i + check.invented]);
    Some(format!(
        "{}: of {} true objects {kept}, with a Dice of {dice}; {lost} were lost and {invented} invented.",
        capitalised(how),
        kept + lost
    ))
}

/// Whether further rounds of tutorship helped.
fn rounds(results: &Results) -> Vec<String> {
    let of = |round| results.of(Approach::Tutorship { round });
    let mut sentences = Vec::new();
    for round in 2.. {
        let (Some(before), Some(after)) = (of(round - 1), of(round)) else { return sentences };
        let (what, change) = match (before.dice(), after.dice()) {
            (Some(before), Some(after)) => ("mean Dice", after - before),
            _ => {
                let mean = |result: &ApproachResult| result.quality().map_or(0.0, |quality| quality.mean);
                (
                    "expected quality, which rises by itself when a model learns from its own answers,",
                    mean(after) - mean(before),
                )
            }
        };
        let verdict = if change > SAME {
            "helped"
        } else if change < -SAME {
            "did harm"
        } else {
            "changed little"
        };
        sentences.push(format!("Round {round} {verdict}: {what} changed by {change:+.3}."));
    }
    sentences
}

/// Whether the quality that is told without the truth orders images as their Dice does.
fn quality_order(chosen: &ApproachResult) -> Option<String> {
    let correlation = chosen.scored.as_ref()?.quality_against_dice.as_ref()?;
    let says = if correlation.p < 0.05 { "orders images rightly" } else { "cannot be shown to order images rightly" };
    Some(format!(
        "The quality that is told without the truth {says}: its rank correlation with the true Dice is {:.2} over {} \
         images (p = {:.3}).",
        correlation.rho, correlation.n, correlation.p
    ))
}

/// The images of lowest quality: where nothing was found first, then the lowest quarter.
fn look_first(chosen: &ApproachResult) -> Vec<LookFirst> {
    let mut images: Vec<_> = chosen.images.iter().collect();
    images.sort_by(|a, b| a.quality.unwrap_or(-1.0).total_cmp(&b.quality.unwrap_or(-1.0)));
    let count = images.len().div_ceil(4).min(LISTED);
    let reason = |image: &super::labelling::Labelled| match (image.quality, image.structure) {
        (None, _) => "nothing was found in it".to_string(),
        (Some(quality), Some(structure)) if structure < SUSPICIOUS_STRUCTURE => {
            format!("its translation lost structures ({structure:.2}); quality {quality:.2}")
        }
        (Some(quality), _) => {
            let lowest =
                image.expected_dice.iter().zip(&chosen.classes).filter_map(|(dice, class)| Some(((*dice)?, class)));
            let lowest = lowest.min_by(|a, b| a.0.total_cmp(&b.0));
            let class = lowest.map_or(String::new(), |(dice, class)| format!(", least about {class} ({dice:.2})"));
            format!("the networks agree less than about others{class}; quality {quality:.2}")
        }
    };
    images.iter().take(count).map(|image| LookFirst { image: image.image.clone(), reason: reason(image) }).collect()
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
