//! From a network's output channels to class logits.

use crate::segmentation::bioimage::{Activation, Description, Reason};

/// What the output channels are.
#[derive(Debug)]
pub(super) struct Scores {
    channels: usize,
    measure: Measure,
    /// No channel is the background: it is class 0 before them all.
    background_implied: bool,
    class_names: Option<Vec<String>>,
}

/// What the number of a channel is.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Measure {
    Logit,
    /// Over all channels they add up to 1.
    ClassProbability,
    /// Against the background alone.
    ChannelProbability,
}

impl Scores {
    /// The rules are in the documentation of the module above. `ending` is the activation at the end of the network.
    pub(super) fn new(channels: usize, ending: Option<Activation>, description: Option<&Description>) -> Reason<Self> {
        let pending = description.and_then(|description| description.activation);
        let names = description.and_then(|description| description.channel_names.clone());
        if let Some(names) = names.as_ref().filter(|names| names.len() != channels) {
            return Err(format!("it gives {channels} channels, but its description names {}", names.len()));
        }
        let measure = match (pending, ending) {
            (Some(_), _) | (None, None) => Measure::Logit,
            (None, Some(Activation::Softmax)) => Measure::ClassProbability,
            (None, Some(Activation::Sigmoid)) => Measure::ChannelProbability,
        };
        let background_named = names.as_ref().is_some_and(|names| names[0].to_lowercase().contains("background"));
        let separate = pending.or(ending) == Some(Activation::Sigmoid) && !background_named;
        if channels == 1 && measure == Measure::ClassProbability {
            return Err("it ends in a softmax over one channel, which is 1 everywhere".into());
        }
        let background_implied = separate || channels == 1;
        let class_names = names.map(|names| {
            let background = background_implied.then(|| "background".to_string());
            background.into_iter().chain(names).collect()
        });
        Ok(Self { channels, measure, background_implied, class_names })
    }

    pub(super) fn classes(&self) -> usize {
        self.channels + usize::from(self.background_implied)
    }

    pub(super) fn class_names(&self) -> Option<&[String]> {
        self.class_names.as_deref()
    }

    /// What the user should know of how channels became classes.
    pub(super) fn notes(&self) -> Vec<String> {
        let several = self.background_implied && self.channels > 1;
        several
            .then(|| {
                format!(
                    "the {} output channels are separate answers (sigmoid): a pixel gets the class of the likeliest \
                     one, and is background where none is above one half",
                    self.channels
                )
            })
            .into_iter()
            .collect()
    }

    /// Logits `[classes, pixels]` from the output `[channels, pixels]`.
    ///
    /// An implied background has the logit 0. With one channel this makes the softmax over both classes the sigmoid of
    /// the channel; with several, the largest logit is the likeliest channel above one half, or else the background.
    pub(super) fn to_logits(&self, channels: Vec<f32>, pixels: usize) -> Vec<f32> {
        let logit = match self.measure {
            Measure::Logit => |value: f32| value,
            Measure::ClassProbability => |p: f32| p.max(f32::MIN_POSITIVE).ln(),
            // The nearest numbers to 1 and 0 keep certainty finite.
            Measure::ChannelProbability => {
                |p: f32| p.max(f32::MIN_POSITIVE).ln() - (1.0 - p).max(f32::EPSILON / 2.0).ln()
            }
        };
        let background = if self.background_implied { pixels } else { 0 };
        std::iter::repeat_n(0.0, background).chain(channels.into_iter().map(logit)).collect()
    }
}
