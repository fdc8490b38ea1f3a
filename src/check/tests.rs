use super::*;
use crate::domain::Pair;
use crate::imaging::{BitDepth, LabelMap, write, write_labels};
use crate::random::Stream;
use std::fs;
use tempfile::TempDir;

/// A noisy image, the same for the same number.
fn noise(number: u64) -> Plane {
    let stream = Stream::new(number);
    Plane::from_fn(48, 48, |y, x| (0.5 + 0.15 * stream.normal_at(y, x)).clamp(0.01, 0.99))
}

/// A part of one large image, from a row on.
fn part(top: usize) -> Plane {
    let stream = Stream::new(9);
    Plane::from_fn(96, 96, |y, x| (0.5 + 0.15 * stream.normal_at(y + top, x)).clamp(0.01, 0.99))
}

fn write_image(dir: &TempDir, name: &str, plane: &Plane) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write(&path, plane, BitDepth::Eight, None).unwrap();
}

fn write_mask(dir: &TempDir, name: &str, side: usize, value: impl Fn(usize) -> u8) {
    let path = dir.path().join(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    write_labels(&path, &LabelMap::new(side, side, (0..side * side).map(value).collect())).unwrap();
}

fn looked_at(dir: &TempDir) -> Survey {
    survey(dir.path(), &CheckOptions::default(), |_, _| {}).unwrap()
}

/// The names of the files with a problem.
fn files(findings: &[Finding], problem: Problem) -> Vec<String> {
    let of_problem = findings.iter().filter(|finding| finding.problem == problem);
    let names = of_problem.flat_map(|finding| &finding.files).map(|path| path.file_name().unwrap().to_string_lossy());
    names.map(|name| name.into_owned()).collect()
}

#[test]
fn faults_of_images_are_found_and_no_file_ends_the_check() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir, "good.png", &noise(1));
    write_image(&dir, "copy.png", &noise(1));
    write_image(&dir, "blank.png", &Plane::from_fn(48, 48, |_, _| 0.4));
    write_image(&dir, "stripes.png", &Plane::from_fn(48, 48, |y, _| f32::from(u8::from(y < 20))));
    write_image(&dir, "framed.png", &Plane::from_fn(48, 48, |y, x| if y < 9 { 0.0 } else { noise(2).get(y, x) }));
    fs::write(dir.path().join("cut.png"), "not an image").unwrap();
    let survey = looked_at(&dir);
    let found = |problem| files(&survey.findings, problem);
    assert_eq!(found(Problem::UnreadableImage), ["cut.png"]);
    assert_eq!(found(Problem::BlankImage), ["blank.png"]);
    assert_eq!(found(Problem::MaskAmongImages), ["stripes.png"]);
    assert_eq!(found(Problem::Margins), ["framed.png"]);
    assert_eq!(found(Problem::Saturated), ["framed.png"]);
    assert_eq!(found(Problem::Duplicate), ["copy.png"]);
    assert_eq!(found(Problem::UnknownPixelSize).len(), 3);
    assert_eq!((survey.images.len(), survey.unusable, survey.has_errors()), (3, 3, true));
    assert!(survey.findings.is_sorted_by_key(|finding| finding.severity));
}

#[test]
fn faults_of_masks_are_found_with_what_mends_them() {
    let dir = tempfile::tempdir().unwrap();
    for (name, number) in [("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)] {
        write_image(&dir, &format!("{name}.png"), &noise(number));
    }
    write_mask(&dir, "a_seg-axon.png", 48, |i| if i < 576 { 255 } else { 0 });
    write_mask(&dir, "b_seg-axon.png", 48, |i| [0, 130, 255][i % 3]);
    write_mask(&dir, "c_seg-axon.png", 40, |_| 255);
    write_mask(&dir, "d_seg-axon.png", 48, |_| 0);
    write_mask(&dir, "gone_seg-axon.png", 48, |_| 0);
    let survey = looked_at(&dir);
    let found = |problem| files(&survey.findings, problem);
    assert_eq!(found(Problem::StrayValues), ["b_seg-axon.png"]);
    assert_eq!(found(Problem::MaskOfAnotherSize), ["c_seg-axon.png"]);
    assert_eq!(found(Problem::EmptyMask), ["d_seg-axon.png"]);
    assert_eq!(found(Problem::NoMask), ["e.png"]);
    let stray = survey.findings.iter().find(|finding| finding.problem == Problem::StrayValues).unwrap();
    assert!(stray.remedy.contains("--mask-threshold 200") && stray.what.contains("768 x 130"), "{stray:?}");
    let shares: Vec<_> = survey.images.iter().map(|row| row.classes.as_ref().map(|classes| classes[0])).collect();
    assert_eq!(shares, [Some(0.25), Some(1.0 / 3.0), None, Some(0.0), None]);
    let options = CheckOptions { mask_threshold: Some(200), ..CheckOptions::default() };
    let mended = super::survey(dir.path(), &options, |_, _| {}).unwrap();
    assert!(files(&mended.findings, Problem::StrayValues).is_empty());
}

#[test]
fn leaks_between_parts_and_sets_are_found() {
    let dir = tempfile::tempdir().unwrap();
    write_image(&dir, "imagesTr/sub-1_a_0000.png", &part(0));
    write_image(&dir, "imagesTs/sub-1_b_0000.png", &part(8));
    write_mask(&dir, "labelsTr/sub-1_a.png", 96, |_| 1);
    let survey = looked_at(&dir);
    assert_eq!(files(&survey.findings, Problem::OverlapOfParts), ["sub-1_a_0000.png"]);
    assert_eq!(files(&survey.findings, Problem::SubjectInTwoParts), ["sub-1_b_0000.png"]);
    let other = tempfile::tempdir().unwrap();
    write_image(&other, "x.png", &part(4));
    let found = shared(&[survey, looked_at(&other)]);
    assert_eq!(files(&found, Problem::OverlapOfParts), ["x.png"]);
}

#[test]
fn overlapping_images_get_one_subject_in_the_proposal() {
    let dir = tempfile::tempdir().unwrap();
    for (name, top) in [("a", 0), ("b", 8), ("c", 100)] {
        write_image(&dir, &format!("{name}.png"), &part(top));
    }
    let survey = looked_at(&dir);
    assert_eq!(files(&survey.findings, Problem::OverlapOfSubjects), ["a.png", "b.png"]);
    let table = proposed_subjects(&survey).unwrap();
    assert_eq!(table, "file\tsubject\tpixel_size_um\na.png\ta\tn/a\nb.png\ta\tn/a\nc.png\tc\tn/a\n");
    fs::write(dir.path().join("subjects.tsv"), table).unwrap();
    let mended = looked_at(&dir);
    assert!(files(&mended.findings, Problem::OverlapOfSubjects).is_empty() && proposed_subjects(&mended).is_none());
}

/// The folder of a real set, if it is there.
fn real(name: &str) -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data").join(name);
    if !root.is_dir() {
        eprintln!("not run: there is no {}", root.display());
    }
    root.is_dir().then_some(root)
}

#[test]
fn the_known_faults_of_the_real_sets_are_found() {
    let Some(root) = real("sem_rat_spinalcord") else { return };
    let sem = survey(&root, &CheckOptions::default(), |_, _| {}).unwrap();
    let stray = files(&sem.findings, Problem::StrayValues);
    assert!(!stray.is_empty() && stray.iter().all(|name| name.starts_with("sub-rat2")), "{stray:?}");
    let alpha = files(&sem.findings, Problem::Alpha);
    assert!(alpha.iter().any(|name| name.starts_with("sub-rat5") && name.contains("axonmyelin")), "{alpha:?}");
    assert_eq!((sem.images.len(), sem.unusable), (7, 0));
    for row in &sem.images {
        let shares = row.classes.as_ref().unwrap();
        assert!((0.26..0.41).contains(&shares[0]) && (0.19..0.30).contains(&shares[1]), "{}: {shares:?}", row.name);
    }
    let Some(root) = real("tem_peripheral_nerve") else { return };
    let of_tem = CheckOptions { pixel_size_um: Some(0.0476), ..CheckOptions::default() };
    let tem = survey(&root, &of_tem, |_, _| {}).unwrap();
    assert_eq!((tem.images.len(), files(&tem.findings, Problem::EmptyMask).len()), (91, 4));
    assert!(files(&tem.findings, Problem::OverlapOfSubjects).len() > 40);
    let mean = |class: usize| tem.images.iter().map(|row| row.classes.as_ref().unwrap()[class]).sum::<f64>() / 91.0;
    assert!((mean(0) - 0.087).abs() < 1e-3 && (mean(1) - 0.067).abs() < 1e-3);
    let surveys = Pair { labelled: &tem, target: &sem };
    let comparison = compare(surveys, Pair { labelled: &of_tem, target: &CheckOptions::default() }, 32).unwrap();
    let ratio = comparison.size_ratio.unwrap();
    assert!((1.6..2.6).contains(&ratio), "axons of the rats are about twice as large: {ratio}");
    assert!(comparison.sets.labelled.empty_crops > comparison.sets.target.empty_crops + 0.1);
    let advice: String = comparison.advice.iter().map(|advice| advice.then.as_str()).collect();
    assert!(advice.contains("--labelled-pixel-size-um 0.") && advice.contains("--balance-crops"), "{advice}");
    assert!(advice.contains("--contrast inverted"), "{advice}");
}

#[test]
fn all_real_sets_can_be_looked_at() {
    let sets = [
        ("nuclei_fluorescence", 160),
        ("bf_optic_nerve_unlabelled", 64),
        ("lm_mouse_nerve_unlabelled", 4),
        ("examples/astih_previews", 5),
    ];
    for (name, images) in sets {
        let Some(root) = real(name) else { return };
        let survey = survey(&root, &CheckOptions::default(), |_, _| {}).unwrap();
        assert_eq!((survey.images.len(), survey.unusable), (images, 0), "{name}: {:?}", survey.findings);
    }
}
