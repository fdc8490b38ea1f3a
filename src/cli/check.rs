//! `synlabel check`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Result, ensure};
use serde::Serialize;
use synlabel::check::{CheckOptions, Comparison, Finding, ImageRow, Severity, Survey};
use synlabel::check::{compare, contact_sheet, proposed_subjects, shared, survey};
use synlabel::domain::{Domain, Pair};
use synlabel::error::Error;
use synlabel::figures::save_png;
use synlabel::files::{create_dir, write_atomically, write_json};
use synlabel::imaging::Intensity;
use synlabel::table::{NO_VALUE, Table};

use super::outcome::Outcome;
use super::reading::PairReadingArgs;
use super::{FormatArg, file_name, progress_bar};

/// Look at data sets before anything is trained: what they hold, what is wrong and how to mend it.
///
/// Two sets (--labelled and --target, or two inputs) are also compared: pixel size, grey, texture, density and size of
/// structures, with what to do about it before a translator is trained between them. Nothing is changed. The exit code is
/// 0 when everything can be used, 2 when something cannot, and 1 when nothing can.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Data sets: BIDS or nnU-Net folders, folders of images with or without masks
    #[arg(short, long, num_args = 1.., value_name = "DATA", required_unless_present = "labelled")]
    input: Vec<PathBuf>,
    /// The set with masks of two that are compared
    #[arg(long, value_name = "DATA", requires = "target", conflicts_with = "input")]
    labelled: Option<PathBuf>,
    /// The set that nobody has annotated
    #[arg(long, value_name = "DATA", requires = "labelled")]
    target: Option<PathBuf>,
    /// Folder for a contact sheet of each set, check.json, and a proposal for subjects.tsv where images overlap
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print everything as JSON instead of tables
    #[arg(long)]
    json: bool,
    /// List every image, however many there are
    #[arg(long)]
    all: bool,
    #[command(flatten)]
    reading: ImageArgs,
    /// Side of the crops of the comparison, in pixels at the working resolution [default: that of the preset small]
    #[arg(long, value_name = "PX", default_value_t = 32, value_parser = clap::value_parser!(u32).range(8..))]
    crop: u32,
}

/// What files do not say.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Images")]
struct ImageArgs {
    /// Layout of all inputs
    #[arg(long, value_enum, default_value = "auto", value_name = "FORMAT")]
    format: FormatArg,
    /// Micrometres per pixel of all inputs [default: what sidecars and files say]
    #[arg(long, value_name = "UM")]
    pixel_size_um: Option<f64>,
    /// Micrometres per pixel of the labelled set
    #[arg(long, value_name = "UM", requires = "labelled")]
    labelled_pixel_size_um: Option<f64>,
    /// Micrometres per pixel of the target set
    #[arg(long, value_name = "UM", requires = "labelled")]
    target_pixel_size_um: Option<f64>,
    /// Grey value (1 to 255) from which on a mask's pixel has the class, for masks with values between
    #[arg(long, value_name = "VALUE", value_parser = clap::value_parser!(u8).range(1..))]
    mask_threshold: Option<u8>,
    #[command(flatten)]
    images: PairReadingArgs,
}

/// Everything that was found.
#[derive(Debug, Serialize)]
struct Report {
    sets: Vec<Survey>,
    /// Data sets that could not be looked at, with the reason.
    failed: BTreeMap<String, String>,
    /// What the sets have in common and should not.
    shared: Vec<Finding>,
    comparison: Option<Comparison>,
}

impl Args {
    pub fn run(self) -> Result<ExitCode> {
        ensure!(
            self.labelled.is_some() || !self.reading.images.names_a_look(),
            "nothing is labelled or target among -i; give --labelled and --target, or --intensity and --page for all"
        );
        let (roots, options) = self.sets();
        for size in options.iter().filter_map(|options| options.pixel_size_um) {
            ensure!(size.is_finite() && size > 0.0, "a pixel size must be above 0 micrometres");
        }
        let mut report = Report { sets: Vec::new(), failed: BTreeMap::new(), shared: Vec::new(), comparison: None };
        let mut used = Vec::new();
        for (root, options) in roots.iter().zip(&options) {
            match look_at(root, options) {
                Ok(survey) => {
                    report.sets.push(survey);
                    used.push(*options);
                }
                Err(error) => drop(report.failed.insert(root.display().to_string(), error.to_string())),
            }
        }
        report.shared = shared(&report.sets);
        if let ([labelled, target], [of_labelled, of_target]) = (report.sets.as_slice(), used.as_slice()) {
            let surveys = Pair { labelled, target };
            let options = Pair { labelled: of_labelled, target: of_target };
            match compare(surveys, options, self.crop as usize) {
                Ok(comparison) => report.comparison = Some(comparison),
                Err(error) => eprintln!("warning: the two sets cannot be compared: {error}"),
            }
        }
        self.write(&report)?;
        self.tell(&report)?;
        let unusable = report.sets.iter().filter(|set| set.has_errors() || set.images.is_empty()).count();
        let failed = unusable + report.failed.len();
        let nothing = report.sets.iter().all(|set| set.images.is_empty());
        Ok(Outcome { done: if nothing { 0 } else { roots.len() - report.failed.len() }, failed }.exit_code())
    }

    fn sets(&self) -> (Vec<PathBuf>, Vec<CheckOptions>) {
        let reading = &self.reading;
        let options = |own: Option<f64>, domain: Domain| CheckOptions {
            format: reading.format.asked(),
            pixel_size_um: own.or(reading.pixel_size_um),
            mask_threshold: reading.mask_threshold,
            reading: reading.images.over(domain, Intensity::default()),
        };
        match (&self.labelled, &self.target) {
            (Some(labelled), Some(target)) => (
                vec![labelled.clone(), target.clone()],
                vec![
                    options(reading.labelled_pixel_size_um, Domain::Labelled),
                    options(reading.target_pixel_size_um, Domain::Target),
                ],
            ),
            _ => (self.input.clone(), vec![options(None, Domain::Target); self.input.len()]),
        }
    }

    fn write(&self, report: &Report) -> Result<()> {
        let Some(folder) = &self.output else { return Ok(()) };
        create_dir(folder)?;
        for (set, number) in report.sets.iter().zip(1..) {
            let ending = if report.sets.len() > 1 { format!("_{number}") } else { String::new() };
            save_png(&folder.join(format!("contact_sheet{ending}.png")), &contact_sheet(set))?;
            if let Some(table) = proposed_subjects(set) {
                let path = folder.join(format!("subjects{ending}.tsv"));
                write_atomically(&path, |path| std::fs::write(path, &table).map_err(Error::io("write", path)))?;
            }
        }
        Ok(write_json(&folder.join("check.json"), report)?)
    }

    fn tell(&self, report: &Report) -> Result<()> {
        let mut out = std::io::stdout().lock();
        if self.json {
            writeln!(out, "{}", serde_json::to_string_pretty(report)?)?;
            return Ok(());
        }
        for set in &report.sets {
            writeln!(out, "{}: {}\n", set.root.display(), set.summary)?;
            writeln!(out, "{}\n", images_table(set, self.all))?;
            tell_findings(&mut out, &set.root, &set.findings)?;
        }
        for (root, reason) in &report.failed {
            writeln!(out, "{root}: cannot be looked at: {reason}\n")?;
        }
        if !report.shared.is_empty() {
            writeln!(out, "The sets have in common:\n")?;
            tell_findings(&mut out, Path::new(""), &report.shared)?;
        }
        if let Some(comparison) = &report.comparison {
            tell_comparison(&mut out, comparison)?;
        }
        match &self.output {
            Some(folder) => writeln!(out, "look at {}", folder.join("contact_sheet*.png").display())?,
            None if report.sets.is_empty() => {}
            None => writeln!(out, "(-o DIR writes a contact sheet of the images with their masks)")?,
        }
        Ok(())
    }
}

fn look_at(root: &Path, options: &CheckOptions) -> synlabel::error::Result<Survey> {
    let bar = progress_bar(None);
    let looked = survey(root, options, |name, count| {
        bar.set_length(count as u64);
        bar.set_message(name.to_string());
        bar.inc(1);
    });
    bar.finish_and_clear();
    looked
}

/// Up to so many images are listed one by one.
const LISTED: usize = 24;

/// A row for each image; in large sets one for all of a kind.
fn images_table(set: &Survey, all: bool) -> Table {
    let kind = |row: &ImageRow| {
        let size = row.pixel_size_um.map_or(NO_VALUE.to_string(), |size| format!("{size}"));
        let size = size.chars().take(8).collect::<String>();
        [format!("{} x {}", row.width, row.height), row.bits.to_string(), row.container.clone(), size]
    };
    let mut kinds: BTreeMap<Vec<String>, Vec<&ImageRow>> = BTreeMap::new();
    for (row, number) in set.images.iter().zip(0..) {
        // Numbered, so that single images keep their order.
        let key = if all || set.images.len() <= LISTED { vec![format!("{number:09}")] } else { kind(row).to_vec() };
        kinds.entry(key).or_default().push(row);
    }
    let first = if all || set.images.len() <= LISTED { "image" } else { "images" };
    let classes = set.classes.iter().map(|class| format!("{class} %"));
    let headers = [first, "size", "bits", "file", "um/px"].map(String::from).into_iter();
    let mut table = Table::new(headers.chain(classes).chain(["empty %".to_string(), "subject".to_string()]));
    for rows in kinds.values() {
        let percent = |values: Vec<f64>| match values.as_slice() {
            [] => NO_VALUE.to_string(),
            values => format!("{:.1}", 100.0 * values.iter().sum::<f64>() / values.len() as f64),
        };
        let share = |class: usize| percent(rows.iter().filter_map(|row| Some(row.classes.as_ref()?[class])).collect());
        let (name, subject) = match rows.as_slice() {
            [row] => {
                // A subject that is called like its image is nobody's statement.
                let subject = if row.subject == row.name { NO_VALUE } else { &row.subject };
                (row.name.clone() + if row.is_test { " (test)" } else { "" }, subject.to_string())
            }
            rows => {
                let mut subjects: Vec<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
                subjects.sort_unstable();
                subjects.dedup();
                (rows.len().to_string(), format!("{} subjects", subjects.len()))
            }
        };
        let empty = percent(rows.iter().map(|row| row.empty).collect());
        let cells = std::iter::once(name).chain(kind(rows[0])).chain((0..set.classes.len()).map(share));
        table.row(cells.chain([empty, subject]));
    }
    table
}

/// Each finding with the first of its files.
fn tell_findings(out: &mut impl Write, root: &Path, findings: &[Finding]) -> Result<()> {
    const SHOWN: usize = 3;
    if findings.is_empty() {
        writeln!(out, "nothing is wrong\n")?;
    }
    for finding in findings {
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        };
        let below = |path: &PathBuf| match path.strip_prefix(root) {
            Ok(below) if !below.as_os_str().is_empty() && !root.as_os_str().is_empty() => below.display().to_string(),
            _ => file_name(path),
        };
        let files: Vec<String> = finding.files.iter().take(SHOWN).map(below).collect();
        let more = finding.files.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let count = match finding.files.len() {
            1 => String::new(),
            count => format!(" ({count} files)"),
        };
        writeln!(out, "{severity}{count}: {}\n    {}{more}", finding.what, files.join(", "))?;
        if !finding.remedy.is_empty() {
            writeln!(out, "    → {}", finding.remedy)?;
        }
    }
    Ok(writeln!(out)?)
}

fn tell_comparison(out: &mut impl Write, comparison: &Comparison) -> Result<()> {
    let working =
        comparison.working_um.map_or("the images' own resolution".to_string(), |um| format!("{um} um per pixel"));
    writeln!(out, "The two sets at {working}, in crops of {} px:\n", comparison.crop)?;
    let mut table = Table::new(["", "labelled", "target", "apart"]);
    let sets = &comparison.sets;
    let both = |show: &dyn Fn(Domain) -> String| Domain::BOTH.map(show);
    let number = |value: Option<f64>, digits: usize| value.map_or(NO_VALUE.to_string(), |v| format!("{v:.digits$}"));
    let mut row = |name: &str, [labelled, target]: [String; 2], apart: String| {
        table.row([name.to_string(), labelled, target, apart]);
    };
    row("pixel size (um)", both(&|domain| number(sets.of(domain).pixel_size_um, 4)), String::new());
    let grey = both(&|domain| format!("{:.2} ± {:.2}", sets.of(domain).mean, sets.of(domain).deviation));
    row("grey", grey, format!("{:.2} ({:.2} inverted)", comparison.grey, comparison.grey_inverted));
    let texture = format!("{:.2} (floor {:.2})", comparison.texture, comparison.texture_floor);
    row("texture", [String::new(), String::new()], texture);
    let foreground = both(&|domain| number(sets.of(domain).foreground.map(|share| 100.0 * share), 1));
    row("labelled pixels (%)", foreground, String::new());
    let size = both(&|domain| {
        let size = sets.of(domain).structure_px;
        size.map_or(NO_VALUE.to_string(), |s| format!("{:.1} ({:.1} to {:.1})", s.median, s.lower, s.upper))
    });
    row(
        "size of structures (px)",
        size,
        comparison.size_ratio.map_or(NO_VALUE.into(), |ratio| format!("{ratio:.2} times")),
    );
    let density = both(&|domain| {
        let [lower, median, upper] = sets.of(domain).density.map(|share| 100.0 * share);
        format!("{median:.0} ({lower:.0} to {upper:.0})")
    });
    row("edges in crops (%)", density, String::new());
    row("mostly empty crops (%)", both(&|domain| format!("{:.0}", 100.0 * sets.of(domain).empty_crops)), String::new());
    writeln!(out, "{table}\n")?;
    for advice in &comparison.advice {
        writeln!(out, "{}\n    → {}", advice.because, advice.then)?;
    }
    Ok(writeln!(out)?)
}
