//! The patches of each training iteration: where they are cut from the images. Changing them is `augment`'s.

use super::augment::Augmentation;
use super::patch::Patch;
use crate::imaging::IGNORE;
use crate::random::Stream;

/// The most places of a class that are remembered of an image; more would cost memory and change nothing.
const PLACES: usize = 10_000;

/// An image to learn from.
#[derive(Debug, Clone)]
pub struct TrainingCase {
    /// The whole normalised image with its labels.
    pub image: Patch,
    /// For each class that the image has, the background aside: pixels that belong to it.
    places: Vec<Vec<u32>>,
}

impl TrainingCase {
    /// An image with its labels; `stream` chooses the places that are remembered where a class has very many.
    pub fn new(image: Patch, classes: usize, stream: &Stream) -> Self {
        let mut places: Vec<Vec<u32>> = vec![Vec::new(); classes];
        for (pixel, label) in image.labels.iter().enumerate().filter(|(_, label)| **label != IGNORE) {
            places[usize::from(*label)].push(pixel as u32);
        }
        places.remove(0);
        places.retain(|places| !places.is_empty());
        for (class, places) in places.iter_mut().enumerate().filter(|(_, places)| places.len() > PLACES) {
            let mut stream = stream.child(class as u64);
            *places = (0..PLACES).map(|_| places[stream.below(places.len())]).collect();
        }
        Self { image, places }
    }

    /// The centre of a patch of `size` around a pixel of a random class, shifted to lie in the image as far as it can;
    /// of any patch where the image has no foreground or none is asked for.
    fn centre(&self, size: [usize; 2], on_foreground: bool, stream: &mut Stream) -> [f64; 2] {
        let extent = [self.image.height, self.image.width];
        let pixel = (on_foreground && !self.places.is_empty()).then(|| {
            let places = &self.places[stream.below(self.places.len())];
            let pixel = places[stream.below(places.len())] as usize;
            [pixel / self.image.width, pixel % self.image.width]
        });
        [0, 1].map(|axis| {
            let half = size[axis] / 2;
            match extent[axis].checked_sub(size[axis]) {
                // The image lies in the middle of a larger patch.
                None => (extent[axis] / 2) as f64,
                Some(room) => {
                    let origin = match pixel {
                        Some(pixel) => pixel[axis].saturating_sub(half).min(room),
                        None => stream.below(room + 1),
                    };
                    (origin + half) as f64
                }
            }
        })
    }
}

/// Draws the patches of every iteration, each a function of (seed, iteration) alone: a resumed run sees what an
/// uninterrupted one would have seen.
#[derive(Debug)]
pub struct Batches<'a> {
    /// The images to learn from.
    pub cases: Vec<&'a TrainingCase>,
    /// Patches of an iteration.
    pub batch_size: usize,
    /// Rows and columns of a patch.
    pub patch_size: [usize; 2],
    /// The part of the patches that is centred on foreground.
    pub foreground_oversampling: f64,
    /// How patches are changed.
    pub augmentation: Augmentation,
    /// Where the random numbers come from.
    pub stream: Stream,
}

impl Batches<'_> {
    /// The patches of one iteration. As in nnU-Net, images are drawn with replacement, and the last patches of a batch
    /// are those on foreground: a third of them, rounded up to at least one in two of a batch of two.
    pub fn patches(&self, iteration: u64) -> Vec<Patch> {
        let free = (self.batch_size as f64 * (1.0 - self.foreground_oversampling)).round() as usize;
        let draw = |place: usize| {
            let stream = self.stream.child(iteration).child(place as u64);
            let mut chooser = stream.child("place");
            let case = self.cases[chooser.below(self.cases.len())];
            let centre = case.centre(self.patch_size, place >= free, &mut chooser);
            self.augmentation.apply(&case.image, centre, self.patch_size, &stream.child("augmentation"))
        };
        (0..self.batch_size).map(draw).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 40 x 30 pixels of background with one pixel of class 2 at (35, 4).
    fn case() -> TrainingCase {
        let mut image = Patch::background(40, 30);
        image.labels[35 * 30 + 4] = 2;
        image.intensities.iter_mut().enumerate().for_each(|(i, value)| *value = i as f32);
        TrainingCase::new(image, 3, &Stream::new(1))
    }

    fn batches(case: &TrainingCase, patch_size: [usize; 2]) -> Batches<'_> {
        Batches {
            cases: vec![case],
            batch_size: 3,
            patch_size,
            foreground_oversampling: 0.33,
            augmentation: Augmentation::none(),
            stream: Stream::new(2),
        }
    }

    #[test]
    fn the_last_third_of_a_batch_shows_foreground() {
        let case = case();
        let batches = batches(&case, [8, 8]);
        let shows = |patch: &Patch| patch.labels.contains(&2);
        let all: Vec<Vec<Patch>> = (0..50).map(|i| batches.patches(i)).collect();
        assert!(all.iter().all(|patches| patches.len() == 3 && shows(&patches[2])));
        assert!(all.iter().filter(|patches| shows(&patches[0])).count() < 15);
    }

    #[test]
    fn patches_lie_in_the_image_and_repeat_for_the_same_iteration() {
        let case = case();
        let batches = batches(&case, [8, 16]);
        for i in 0..20 {
            let patches = batches.patches(i);
            // Zero is the pixel in the corner or what lies outside.
            let outside = |patch: &Patch| patch.intensities.iter().filter(|v| **v == 0.0).count() > 1;
            assert!(!patches.iter().any(outside));
            assert_eq!(patches, batches.patches(i));
        }
        assert_ne!(batches.patches(0), batches.patches(1));
    }

    #[test]
    fn an_image_smaller_than_a_patch_lies_in_its_middle() {
        let case = case();
        let patch = &batches(&case, [44, 32]).patches(0)[2];
        // 2 rows above, 1 column to the left.
        assert_eq!(patch.labels[(35 + 2) * 32 + 4 + 1], 2);
        assert_eq!(patch.intensities[2 * 32 + 2], 1.0);
    }
}
