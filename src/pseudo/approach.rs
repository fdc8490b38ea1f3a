//! The ways to come from labelled images of one look to masks of another.

use serde::{Deserialize, Serialize};

/// A way to make masks of the target images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Approach {
    /// The model of the labelled look, applied to the raw target images.
    AsIs,
    /// The same after black and white are exchanged.
    Inverted,
    /// The same after the grey levels are matched to those of the labelled images.
    Matched,
    /// The same after both.
    InvertedMatched,
    /// The same after the non-diffusive translator alone.
    TranslatorAlone,
    /// The same after translation into the labelled look by SynDiff.
    Adaptation,
    /// A proxy model that learnt from labelled images in the look of the target, applied to the raw target images.
    Tutorship {
        /// 1 for the first proxy; from 2 on it also learnt from confident pseudo labels of the round before.
        round: u64,
    },
    /// A model that learnt from true masks of other target images: what no approach without them can expect to reach.
    Supervised,
}

impl Approach {
    /// The name of its folder and in files.
    pub fn name(self) -> String {
        match self {
            Self::AsIs => "as_is".into(),
            Self::Inverted => "inverted".into(),
            Self::Matched => "matched".into(),
            Self::InvertedMatched => "inverted_matched".into(),
            Self::TranslatorAlone => "translator_alone".into(),
            Self::Adaptation => "adaptation".into(),
            Self::Tutorship { round: 1 } => "tutorship".into(),
            Self::Tutorship { round } => format!("tutorship_round{round}"),
            Self::Supervised => "supervised".into(),
        }
    }

    /// What it is, for a table.
    pub fn title(self) -> String {
        match self {
            Self::AsIs => "model as it is".into(),
            Self::Inverted => "model on inverted images".into(),
            Self::Matched => "model on images with matched grey levels".into(),
            Self::InvertedMatched => "model on inverted images with matched grey levels".into(),
            Self::TranslatorAlone => "model after the translator without diffusion".into(),
            Self::Adaptation => "adaptation (model after SynDiff)".into(),
            Self::Tutorship { round: 1 } => "tutorship (proxy model)".into(),
            Self::Tutorship { round } => format!("tutorship, round {round}"),
            Self::Supervised => "supervised (true masks of the target)".into(),
        }
    }

    /// Whether the model of the labelled look makes the masks.
    pub fn uses_labelled_model(self) -> bool {
        !matches!(self, Self::Tutorship { .. } | Self::Supervised)
    }

    /// Whether it needs a translator.
    pub fn uses_translator(self) -> bool {
        matches!(self, Self::TranslatorAlone | Self::Adaptation | Self::Tutorship { .. })
    }

    /// Whether target images are translated for it.
    pub fn translates_target(self) -> bool {
        matches!(self, Self::TranslatorAlone | Self::Adaptation)
    }

    /// Whether somebody who has no mask of the target can use it.
    pub fn is_without_truth(self) -> bool {
        self != Self::Supervised
    }

    /// How much has to be trained and understood for it; of two that are as good the simpler one is to be preferred.
    pub fn effort(self) -> u64 {
        match self {
            Self::AsIs => 0,
            Self::Inverted | Self::Matched => 1,
            Self::InvertedMatched => 2,
            Self::TranslatorAlone => 3,
            Self::Adaptation => 4,
            Self::Tutorship { round } => 4 + round,
            Self::Supervised => u64::MAX,
        }
    }
}
