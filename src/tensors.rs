//! From planes to tensors and back: the only crossing between [0, 1] on the host and [-1, 1] in the networks.

use burn::tensor::{DType, Device, Tensor, TensorData};

use crate::imaging::Plane;

/// Planes of one size as a tensor in [-1, 1]: 2v − 1.
///
/// # Shapes
/// - output: `[planes, 1, height, width]`
pub fn to_tensor(planes: &[Plane], device: &Device) -> Tensor<4> {
    let (height, width) = (planes[0].height(), planes[0].width());
    let values: Vec<f32> = planes.iter().flat_map(|plane| plane.pixels().iter().map(|v| 2.0 * v - 1.0)).collect();
    Tensor::from_data(TensorData::new(values, [planes.len(), 1, height, width]), (device, DType::F32))
}

/// A tensor as planes, clamped to [0, 1]: (v + 1)/2.
///
/// # Shapes
/// - input: `[planes, 1, height, width]`
pub fn to_planes(tensor: Tensor<4>) -> Vec<Plane> {
    let [_, _, height, width] = tensor.dims();
    let data = tensor.into_data().convert::<f32>();
    let values = data.as_slice::<f32>().expect("the data was just converted to f32");
    let to_plane =
        |values: &[f32]| Plane::new(height, width, values.iter().map(|v| ((v + 1.0) / 2.0).clamp(0.0, 1.0)).collect());
    values.chunks_exact(height * width).map(to_plane).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ramp(side: usize) -> Plane {
        Plane::from_fn(side, side, |y, x| (y * side + x) as f32 / (side * side) as f32)
    }

    #[test]
    fn planes_survive_the_way_to_the_networks_and_back() {
        let planes = [ramp(8), ramp(8)];
        let tensor = to_tensor(&planes, &Device::flex());
        assert_eq!(tensor.dims(), [2, 1, 8, 8]);
        for (before, after) in planes.iter().zip(to_planes(tensor)) {
            for (a, b) in before.pixels().iter().zip(after.pixels()) {
                assert!((a - b).abs() < 1e-6);
            }
        }
    }
}
