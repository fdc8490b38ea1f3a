//! A proposal for `subjects.tsv`: images that show one place have one subject.

use super::Survey;
use super::overlaps::groups;

/// The table, where images of several subjects overlap. A group is called by the first of its images.
pub fn proposed_subjects(survey: &Survey) -> Option<String> {
    let overlaps = survey.blocks.overlaps();
    let groups = groups(survey.images.len(), &overlaps);
    let subject = |image: usize| survey.images[groups[image]].subject.as_str();
    let changes = (0..groups.len()).any(|image| survey.images[image].subject != subject(image));
    changes.then(|| {
        let row = |image: usize| {
            let path = &survey.images[image].path;
            let below = path.strip_prefix(&survey.root).unwrap_or(path).to_string_lossy().replace('\\', "/");
            let size = survey.images[image].pixel_size_um.map_or("n/a".to_string(), |size| size.to_string());
            format!("{below}\t{}\t{size}\n", subject(image))
        };
        let rows: String = (0..groups.len()).filter(|image| !survey.images[*image].is_test).map(row).collect();
        format!("file\tsubject\tpixel_size_um\n{rows}")
    })
}
