//! Training, validation and test images, about 80, 10 and 10 in a hundred, without sharing a subject; or the test as
//! asked for.

use crate::random::Stream;
use std::collections::BTreeMap;

/// Indices of images, each part in ascending order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Split {
    /// To learn from.
    pub train: Vec<usize>,
    /// To choose the best moment of training by.
    pub validation: Vec<usize>,
    /// To report the quality on; empty when there are fewer than three images and none is held out.
    pub test: Vec<usize>,
    /// Why the split is less than it should be, if it is.
    pub note: Option<String>,
}

/// Splits images by their subjects (one entry for each image). The error is a sentence about the subjects.
///
/// With three subjects or more, no subject is in two parts and no part is empty; the largest subject is in training,
/// and training has the most images. With fewer subjects the images themselves are split. With fewer than three
/// images all of them serve for training and validation, and there is no test. The last two come with a note.
///
/// The images of `held_out` subjects are the test, where there are any; the others are then split into training and
/// validation alone, of which two subjects and two images are enough.
///
/// The result depends on the subjects' names, their numbers of images and the seed only, not on the images' order.
pub fn split(subjects: &[impl AsRef<str>], held_out: &[String], seed: u64) -> Result<Split, String> {
    let mut by_subject: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (image, subject) in subjects.iter().enumerate() {
        by_subject.entry(subject.as_ref()).or_default().push(image);
    }
    if held_out.is_empty() {
        return Ok(split_rest(by_subject, None, seed));
    }
    check_held_out(&by_subject.keys().copied().collect::<Vec<_>>(), held_out)?;
    let test = held_out.iter().filter_map(|subject| by_subject.remove(subject.as_str())).flatten();
    let test = sorted(test);
    Ok(split_rest(by_subject, Some(test), seed))
}

/// Refuses subjects to hold out that are not there, and all of them.
pub(crate) fn check_held_out(known: &[&str], held_out: &[String]) -> Result<(), String> {
    if let Some(unknown) = held_out.iter().find(|subject| !known.contains(&subject.as_str())) {
        return Err(format!("there is no subject {unknown} to hold out; subjects: {}", listed_subjects(known)));
    }
    if known.iter().all(|subject| held_out.iter().any(|out| out == subject)) {
        return Err("every subject is held out, and nothing is left to learn from".into());
    }
    Ok(())
}

/// The distinct subjects, in order, the first ten of them.
pub(crate) fn listed_subjects(subjects: &[&str]) -> String {
    let mut names = subjects.to_vec();
    names.sort_unstable();
    names.dedup();
    let more = if names.len() > 10 { ", …" } else { "" };
    names.truncate(10);
    names.join(", ") + more
}

/// Splits the images of these subjects into training and validation, and test unless that is given.
fn split_rest(by_subject: BTreeMap<&str, Vec<usize>>, given_test: Option<Vec<usize>>, seed: u64) -> Split {
    let (parts, few_images, few_subjects) = match given_test {
        None => (
            3,
            "fewer than three images: the training images serve for validation too and there is no test",
            "fewer than three subjects: the split is by image, so validation and test look better than they would on \
             a new subject",
        ),
        Some(_) => (
            2,
            "only one image is not held out: it serves for training and for validation",
            "only one subject is not held out: its images are split into training and validation, so validation looks \
             better than it would on a new subject",
        ),
    };
    let images = sorted(by_subject.values().flatten().copied());
    if images.len() < parts {
        let test = given_test.unwrap_or_default();
        return Split { train: images.clone(), validation: images, test, note: Some(few_images.to_string()) };
    }
    let share = images.len() as f64 / 10.0;
    let (groups, note): (Vec<Vec<usize>>, _) = if by_subject.len() < parts {
        (images.into_iter().map(|image| vec![image]).collect(), Some(few_subjects.to_string()))
    } else {
        (by_subject.into_values().collect(), None)
    };
    let mut order = Stream::new(seed).child("split").permutation(groups.len());
    // The largest is spoken for: training needs the most, and one large subject would swell another part.
    let largest = (0..order.len()).max_by_key(|i| groups[order[*i]].len()).unwrap_or(0);
    let mut left: Vec<Vec<usize>> =
        std::iter::once(order.remove(largest)).chain(order).map(|i| groups[i].clone()).collect();
    let largest = left.remove(0);
    let test = given_test.unwrap_or_else(|| take(&mut left, share, 1));
    let validation = take(&mut left, share, 0);
    let train = sorted(left.into_iter().flatten().chain(largest));
    Split { train, validation, test, note }
}

/// Takes groups off `left`, in order, whose images number as close to `share` as that allows: at least one group, and
/// at least `keep` groups stay.
fn take(left: &mut Vec<Vec<usize>>, share: f64, keep: usize) -> Vec<usize> {
    let mut taken: Vec<usize> = Vec::new();
    let mut i = 0;
    while i < left.len() && left.len() > keep {
        if (taken.len() + left[i].len()) as f64 <= share {
            taken.extend(left.remove(i));
        } else {
            i += 1;
        }
    }
    let smallest = (0..left.len()).min_by_key(|i| left[*i].len());
    if let Some(smallest) = smallest.filter(|_| left.len() > keep) {
        let missing = share - taken.len() as f64;
        // One more group overshoots; it is taken when that is closer, or when there is nothing yet.
        if taken.is_empty() || (left[smallest].len() as f64 - missing) < missing {
            taken.extend(left.remove(smallest));
        }
    }
    sorted(taken.into_iter())
}

fn sorted(images: impl Iterator<Item = usize>) -> Vec<usize> {
    let mut images: Vec<usize> = images.collect();
    images.sort_unstable();
    images
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn of_sizes(sizes: &[usize]) -> Vec<String> {
        sizes.iter().enumerate().flat_map(|(i, size)| vec![format!("sub-{i}"); *size]).collect()
    }

    fn drawn(subjects: &[impl AsRef<str>], seed: u64) -> Split {
        split(subjects, &[], seed).unwrap()
    }

    fn lengths(split: &Split) -> [usize; 3] {
        [split.train.len(), split.validation.len(), split.test.len()]
    }

    #[test]
    fn equal_subjects_are_split_eighty_ten_ten() {
        for (images, expected) in
            [(3, [1, 1, 1]), (10, [8, 1, 1]), (16, [12, 2, 2]), (91, [73, 9, 9]), (200, [160, 20, 20])]
        {
            assert_eq!(lengths(&drawn(&of_sizes(&vec![1; images]), 0)), expected);
        }
    }

    #[test]
    fn of_five_rats_with_one_one_three_one_one_images_the_third_is_for_training() {
        for seed in 0..50 {
            let split = drawn(&["rat1", "rat2", "rat3", "rat3", "rat3", "rat4", "rat5"], seed);
            assert_eq!(lengths(&split), [5, 1, 1]);
            assert!([2, 3, 4].iter().all(|image| split.train.contains(image)));
        }
    }

    #[test]
    fn every_split_by_subject_is_complete_disjoint_and_led_by_training() {
        let mut random = Stream::new(11);
        for seed in 0..2000 {
            let subjects_in_all = 3 + random.below(40);
            let largest = 1 + random.below(30);
            let sizes: Vec<usize> = (0..subjects_in_all).map(|_| 1 + random.below(largest)).collect();
            let subjects = of_sizes(&sizes);
            let split = drawn(&subjects, seed);
            let of = |part: &[usize]| part.iter().map(|image| &subjects[*image]).collect::<BTreeSet<_>>();
            let [train, validation, test] = [of(&split.train), of(&split.validation), of(&split.test)];
            assert!(train.is_disjoint(&validation) && train.is_disjoint(&test) && validation.is_disjoint(&test));
            let all = sorted([&split.train, &split.validation, &split.test].into_iter().flatten().copied());
            assert_eq!(all, (0..subjects.len()).collect::<Vec<_>>());
            let [train, validation, test] = lengths(&split);
            assert!(validation > 0 && test > 0 && train >= validation.max(test), "{sizes:?}");
            assert_eq!(split.note, None);
            // Subjects are whole, so a part can miss its share by the largest of them, and not by more.
            let share = subjects.len() as f64 / 10.0;
            let widest = *sizes.iter().max().unwrap() as f64;
            assert!([validation, test].iter().all(|part| (*part as f64 - share).abs() <= widest), "{sizes:?}");
        }
    }

    #[test]
    fn the_seed_decides_and_the_order_of_images_does_not() {
        let subjects = of_sizes(&[2; 20]);
        assert_eq!(drawn(&subjects, 5), drawn(&subjects, 5));
        assert!((0..20).any(|seed| drawn(&subjects, seed) != drawn(&subjects, 5)));
        let reversed: Vec<String> = subjects.iter().rev().cloned().collect();
        let names = |subjects: &[String], part: Vec<usize>| {
            part.into_iter().map(|image| subjects[image].clone()).collect::<BTreeSet<_>>()
        };
        assert_eq!(names(&subjects, drawn(&subjects, 5).test), names(&reversed, drawn(&reversed, 5).test));
    }

    #[test]
    fn every_subject_is_tested_under_some_seed() {
        let subjects = of_sizes(&[1; 8]);
        let tested: BTreeSet<usize> = (0..200).flat_map(|seed| drawn(&subjects, seed).test).collect();
        assert_eq!(tested.len(), 8);
    }

    #[test]
    fn fewer_than_three_subjects_are_split_by_image_with_a_note() {
        for sizes in [vec![20], vec![10, 10]] {
            let split = drawn(&of_sizes(&sizes), 1);
            assert_eq!(lengths(&split), [16, 2, 2]);
            assert!(split.note.unwrap().contains("fewer than three subjects"));
        }
        assert_eq!(lengths(&drawn(&of_sizes(&[2, 1]), 1)), [1, 1, 1]);
    }

    #[test]
    fn fewer_than_three_images_serve_for_training_and_validation_with_a_note() {
        for images in 0..3 {
            let split = drawn(&of_sizes(&vec![1; images]), 1);
            assert_eq!(lengths(&split), [images, images, 0]);
            assert!(split.note.unwrap().contains("fewer than three images"));
        }
    }

    #[test]
    fn a_split_without_held_out_subjects_is_the_same_in_every_version() {
        let parts = |subjects: &[&str]| {
            let Split { train, validation, test, .. } = drawn(subjects, 42);
            [train, validation, test]
        };
        let six_subjects = ["rat1", "rat2", "rat3", "rat3", "rat3", "rat4", "rat5", "rat6"];
        assert_eq!(parts(&six_subjects), [vec![1, 2, 3, 4, 6, 7], vec![0], vec![5]]);
        let two_subjects = ["a", "b", "a", "b", "b", "a", "a", "a", "b", "b", "b"];
        assert_eq!(parts(&two_subjects), [vec![1, 2, 3, 4, 5, 6, 7, 8, 10], vec![9], vec![0]]);
    }

    #[test]
    fn held_out_subjects_are_the_test_and_nowhere_else() {
        let subjects = ["a", "b", "a", "c", "d", "d", "e"];
        let held_out = ["d", "a"].map(String::from);
        let tried = BTreeSet::from_iter((0..50).map(|seed| {
            let split = split(&subjects, &held_out, seed).unwrap();
            assert_eq!(split.test, [0, 2, 4, 5]);
            assert_eq!(sorted(split.train.iter().chain(&split.validation).copied()), [1, 3, 6]);
            assert_eq!((split.validation.len(), split.note), (1, None));
            split.validation[0]
        }));
        assert_eq!(tried, BTreeSet::from([1, 3, 6]));
    }

    #[test]
    fn what_few_subjects_leave_is_split_by_image_with_a_note() {
        let held_out = ["b".to_string()];
        let one_subject = split(&["a", "a", "a", "b"], &held_out, 1).unwrap();
        assert_eq!((lengths(&one_subject), &one_subject.test), ([2, 1, 1], &vec![3]));
        assert!(one_subject.note.unwrap().contains("only one subject is not held out"));
        let one_image = split(&["a", "b"], &held_out, 1).unwrap();
        assert_eq!((one_image.train, one_image.validation, one_image.test), (vec![0], vec![0], vec![1]));
        assert!(one_image.note.unwrap().contains("only one image is not held out"));
    }

    #[test]
    fn unknown_subjects_and_all_subjects_are_not_held_out() {
        let refused = |held_out: &[&str]| {
            let held_out: Vec<String> = held_out.iter().map(|subject| subject.to_string()).collect();
            split(&["b", "a", "b"], &held_out, 0).unwrap_err()
        };
        assert_eq!(refused(&["a", "x"]), "there is no subject x to hold out; subjects: a, b");
        assert_eq!(refused(&["b", "a"]), "every subject is held out, and nothing is left to learn from");
    }
}
