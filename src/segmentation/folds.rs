//! Which images a network learns from and which it is validated on: folds that share no subject.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::dataset::{check_held_out, listed_subjects};
use crate::random::Stream;

/// A part of the data on which one network is validated, or all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Fold {
    /// Validated on the images of this number, trained on the others.
    Number(usize),
    /// Trained and validated on all images.
    All,
}

impl fmt::Display for Fold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "{number}"),
            Self::All => f.write_str("all"),
        }
    }
}

impl FromStr for Fold {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "all" => Ok(Self::All),
            number => number.parse().map(Self::Number).map_err(|_| format!("{text:?} is neither a number nor \"all\"")),
        }
    }
}

impl Fold {
    /// The name of its folder in a model, as nnU-Net calls it.
    pub fn folder(self) -> String {
        format!("fold_{self}")
    }
}

/// The names of the images that take part, by fold.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Folds {
    /// For each fold, the images it is validated on; they are learnt from in the other folds.
    pub validation: Vec<Vec<String>>,
    /// Images that no fold sees.
    pub held_out: Vec<String>,
}

/// The images of one training, as indices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoldParts {
    /// To learn from.
    pub train: Vec<usize>,
    /// To choose the best checkpoint by.
    pub validation: Vec<usize>,
}

impl Folds {
    /// Parts images into `count` folds by subject, each with as many images as the others as nearly as whole subjects
    /// allow. The error is a sentence about the subjects.
    ///
    /// `images` are names and subjects; those of `held_out` subjects take no part.
    pub fn by_subject(
        images: &[(String, String)],
        count: usize,
        held_out: &[String],
        seed: u64,
    ) -> Result<Self, String> {
        let known: Vec<&str> = images.iter().map(|(_, subject)| subject.as_str()).collect();
        check_held_out(&known, held_out)?;
        let is_out = |subject: &String| held_out.contains(subject);
        let out = images.iter().filter(|(_, subject)| is_out(subject)).map(|(name, _)| name.clone()).collect();
        let mut subjects: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, subject) in images.iter().filter(|(_, subject)| !is_out(subject)) {
            subjects.entry(subject).or_default().push(name);
        }
        if subjects.len() < count {
            return Err(format!(
                "{count} folds need {count} subjects, and there are {}: {}; give --folds {} or, to train on all images \
                 without validation on others, --fold all",
                subjects.len(),
                listed_subjects(&subjects.keys().copied().collect::<Vec<_>>()),
                subjects.len().max(2)
            ));
        }
        let groups: Vec<Vec<&str>> = subjects.into_values().collect();
        let mut order = Stream::new(seed).child("folds").permutation(groups.len());
        // The large ones first, each to the fold that has the fewest: what is left over then matters least.
        order.sort_by_key(|group| std::cmp::Reverse(groups[*group].len()));
        let mut validation: Vec<Vec<String>> = vec![Vec::new(); count];
        for group in order {
            let fewest = validation.iter_mut().min_by_key(|names| names.len()).expect("there is a fold");
            fewest.extend(groups[group].iter().map(|name| name.to_string()));
        }
        validation.iter_mut().for_each(|names| names.sort());
        Ok(Self { validation, held_out: out })
    }

    /// Number of folds.
    pub fn count(&self) -> usize {
        self.validation.len()
    }

    /// The images of a fold as indices into `names`; None when the fold or one of its images is not there.
    pub fn parts(&self, fold: Fold, names: &[String]) -> Option<FoldParts> {
        let index = |name: &String| names.iter().position(|known| known == name);
        let mut everyone = self.validation.iter().flatten().map(index).collect::<Option<Vec<usize>>>()?;
        everyone.sort_unstable();
        let validation = match fold {
            Fold::All => everyone.clone(),
            Fold::Number(number) => {
                let mut indices = self.validation.get(number)?.iter().map(index).collect::<Option<Vec<usize>>>()?;
                indices.sort_unstable();
                indices
            }
        };
        let train = match fold {
            Fold::All => everyone,
            Fold::Number(_) => everyone.into_iter().filter(|index| !validation.contains(index)).collect(),
        };
        Some(FoldParts { train, validation })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images() -> Vec<(String, String)> {
        let names = ["a1", "a2", "a3", "b1", "c1", "d1", "d2"];
        names.map(|name| (name.to_string(), name[..1].to_string())).to_vec()
    }

    #[test]
    fn no_subject_is_on_both_sides_and_every_image_is_validated_once() {
        let images = images();
        let names: Vec<String> = images.iter().map(|(name, _)| name.clone()).collect();
        let folds = Folds::by_subject(&images, 3, &[], 1).unwrap();
        let mut validated = Vec::new();
        for fold in 0..3 {
            let parts = folds.parts(Fold::Number(fold), &names).unwrap();
            assert_eq!(parts.train.len() + parts.validation.len(), 7);
            let subjects = |part: &[usize]| part.iter().map(|i| images[*i].1.clone()).collect::<Vec<_>>();
            assert!(subjects(&parts.validation).iter().all(|subject| !subjects(&parts.train).contains(subject)));
            validated.extend(parts.validation);
        }
        validated.sort_unstable();
        assert_eq!(validated, [0, 1, 2, 3, 4, 5, 6]);
        let sizes: Vec<usize> = folds.validation.iter().map(Vec::len).collect();
        assert_eq!(sizes.iter().max(), Some(&3));
    }

    #[test]
    fn held_out_subjects_are_in_no_fold() {
        let names: Vec<String> = images().into_iter().map(|(name, _)| name).collect();
        let folds = Folds::by_subject(&images(), 3, &["a".into()], 1).unwrap();
        assert_eq!(folds.held_out, ["a1", "a2", "a3"]);
        assert_eq!(folds.parts(Fold::All, &names).unwrap().train, [3, 4, 5, 6]);
        let error = Folds::by_subject(&images(), 3, &["x".into()], 1).unwrap_err();
        assert!(error.contains("no subject x") && error.contains("a, b, c, d"), "{error}");
    }

    #[test]
    fn fewer_subjects_than_folds_are_refused() {
        let error = Folds::by_subject(&images(), 5, &[], 1).unwrap_err();
        assert!(error.contains("5 folds need 5 subjects, and there are 4: a, b, c, d"), "{error}");
        assert!(Folds::by_subject(&images(), 4, &[], 1).is_ok());
    }

    #[test]
    fn folds_of_images_that_are_gone_are_not_made_up() {
        let folds = Folds::by_subject(&images(), 2, &[], 1).unwrap();
        assert_eq!(folds.parts(Fold::Number(0), &["a1".into()]), None);
        assert_eq!(folds.parts(Fold::Number(7), &images().into_iter().map(|(n, _)| n).collect::<Vec<_>>()), None);
    }
}
