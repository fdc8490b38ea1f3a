use std::convert::Infallible;

use super::*;

/// A description with these steps, axes and weights.
fn parsed(version: &str, input: &str, postprocessing: &str, weights: &str) -> Reason<Description> {
    let output = if version.starts_with("0.4") {
        "axes: bcyx".to_string()
    } else {
        "axes: [{type: batch}, {type: channel}, {type: space, id: y}, {type: space, id: x}]".into()
    };
    let text = format!(
        "format_version: {version}\ntype: model\ninputs:\n- id: raw\n  {input}\noutputs:\n- id: scores\n  {output}\n  \
         postprocessing: {postprocessing}\nweights: {weights}\n"
    );
    Description::parse(&text, Path::new("model"))
}

/// A description of format 0.4 with these steps before the network.
fn with_steps(steps: &str) -> Reason<Description> {
    let input = format!("axes: bcyx\n  shape: {{min: [1, 1, 64, 48], step: [0, 0, 16, 0]}}\n  preprocessing: {steps}");
    parsed("0.4.9", &input, "[]", "{onnx: {source: weights.onnx}}")
}

/// A description of format 0.5 with these axes.
fn with_axes(axes: &str) -> Reason<Description> {
    parsed("0.5.4", &format!("axes: [{axes}]"), "[]", "{onnx: {source: weights.onnx}}")
}

fn fit_to(steps: &[Preprocessing], values: &[(f32, u64)]) -> Vec<Pointwise> {
    let pass = |look: &mut Look<'_>| {
        values.iter().for_each(|(value, count)| look(*value, *count));
        Ok::<_, Infallible>(())
    };
    fit(steps, pass).unwrap()
}

fn prepared(steps: &str, pixels: &[f32]) -> Vec<f32> {
    let values: Vec<(f32, u64)> = pixels.iter().map(|pixel| (*pixel, 1)).collect();
    let steps = fit_to(&with_steps(steps).unwrap().preprocessing, &values);
    pixels.iter().map(|pixel| steps.iter().fold(*pixel, |value, step| step.apply(value))).collect()
}

fn assert_close(values: &[f32], expected: &[f32]) {
    assert_eq!(values.len(), expected.len());
    assert!(values.iter().zip(expected).all(|(v, e)| (v - e).abs() < 1e-5), "{values:?} is not {expected:?}");
}

#[test]
fn each_step_on_a_case_worked_by_hand() {
    let pixels = [1.0, 3.0, 3.0, 5.0];
    let root = 2f32.sqrt();
    let cases: [(&str, [f32; 4]); 9] = [
        ("zero_mean_unit_variance, kwargs: {mode: per_sample, axes: yx}", [-root, 0.0, 0.0, root]),
        ("zero_mean_unit_variance, kwargs: {mode: fixed, axes: yx, mean: [3], std: [2.0]}", [-1.0, 0.0, 0.0, 1.0]),
        ("fixed_zero_mean_unit_variance, kwargs: {mean: 1.0, std: 4.0}", [0.0, 0.5, 0.5, 1.0]),
        ("scale_range, kwargs: {mode: per_sample, axes: yx}", [0.0, 0.5, 0.5, 1.0]),
        // Percentiles 25 and 90: values number 0.75 and 2.7, counted from 0: 2.5 and 4.4.
        (
            "scale_range, kwargs: {axes: [y, x], min_percentile: 25, max_percentile: 90}",
            [-1.5 / 1.9, 0.5 / 1.9, 0.5 / 1.9, 2.5 / 1.9],
        ),
        ("scale_linear, kwargs: {gain: 0.5, offset: [-1.0]}", [-0.5, 0.5, 0.5, 1.5]),
        ("clip, kwargs: {min: 2}", [2.0, 3.0, 3.0, 5.0]),
        ("binarize, kwargs: {threshold: 3.0}", [0.0, 0.0, 0.0, 1.0]),
        ("ensure_dtype, kwargs: {dtype: float64}", pixels),
    ];
    for (step, expected) in cases {
        assert_close(&prepared(&format!("[{{name: {step}}}]"), &pixels), &expected);
    }
}

#[test]
fn steps_follow_each_other_and_see_what_the_ones_before_left() {
    let steps =
        "[{name: clip, kwargs: {max: 3}}, {name: scale_range, kwargs: {}}, {id: scale_linear, kwargs: {gain: 300}},
        {id: ensure_dtype, kwargs: {dtype: uint8}}]";
    assert_close(&prepared(steps, &[1.0, 1.5, 3.0, 9.0]), &[0.0, 74.0, 255.0, 255.0]);
}

#[test]
fn a_histogram_and_its_pixels_give_the_same_numbers() {
    let description = with_steps(
        "[{name: scale_range, kwargs: {min_percentile: 10, max_percentile: 70}},
        {name: zero_mean_unit_variance, kwargs: {mode: per_sample, axes: yx}}]",
    )
    .unwrap();
    let pixels = fit_to(&description.preprocessing, &[9.0, 2.0, 2.0, 4.0, 2.0].map(|value| (value, 1)));
    let counted = fit_to(&description.preprocessing, &[(4.0, 1), (7.0, 0), (9.0, 1), (2.0, 3)]);
    let shown = |steps: &[Pointwise]| steps.iter().fold(5.0, |value, step| step.apply(value));
    assert!((shown(&pixels) - shown(&counted)).abs() < 1e-6);
}

#[test]
fn a_blank_image_stays_finite_and_one_without_numbers_as_it_is() {
    for step in ["zero_mean_unit_variance", "scale_range"] {
        assert_close(&prepared(&format!("[{{id: {step}}}]"), &[7.0; 3]), &[0.0; 3]);
        assert_close(&prepared(&format!("[{{id: {step}}}]"), &[]), &[]);
    }
}

#[test]
fn the_smallest_allowed_size_above_the_wanted_one_is_chosen() {
    let rule = SizeRule { min: 10, step: 16 };
    assert_eq!([0, 10, 11, 26, 250].map(|wanted| rule.at_least(wanted)), [10, 10, 26, 26, 250]);
    assert_eq!(SizeRule::fixed(64).at_least(256), 64);
    assert!(rule.allows(42) && !rule.allows(43) && !rule.allows(0) && !SizeRule::fixed(64).allows(65));
}

#[test]
fn sizes_may_refer_to_another_axis() {
    let image = "{type: batch}, {type: channel, channel_names: [grey]}";
    let axes = format!(
        "{image}, {{type: space, id: y, size: {{tensor_id: raw, axis_id: x}}}},
        {{type: space, id: x, size: {{min: 32, step: 8}}}}"
    );
    let description = with_axes(&axes).unwrap();
    assert_eq!(description.sizes, [SizeRule { min: 32, step: 8 }; 2]);
    assert_eq!(description.input_axes, [Axis::Single, Axis::Channel, Axis::Y, Axis::X]);
    assert_eq!(with_steps("[]").unwrap().sizes, [SizeRule { min: 64, step: 16 }, SizeRule::fixed(48)]);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    let plane = "{type: space, id: y, size: 8}, {type: space, id: x, size: 8}";
    let onnx = "{onnx: {source: weights.onnx}}";
    let input = "axes: bcyx\n  shape: [1, 1, 8, 8]";
    let refusals = [
        (with_steps("[{name: local_contrast}]"), "local_contrast"),
        (with_steps("[{name: sigmoid}]"), "prepared by sigmoid"),
        (with_steps("[{name: clip, kwargs: {min_percentile: 1}}]"), "min_percentile"),
        (with_steps("[{name: scale_range, kwargs: {axes: x}}]"), "one axis"),
        (with_steps("[{name: scale_range, kwargs: {min_percentile: 60, max_percentile: 40}}]"), "rise"),
        (with_steps("[{name: scale_range, kwargs: {reference_tensor: other}}]"), "percentiles of other"),
        (with_steps("[{name: scale_linear, kwargs: {gain: [1, 2, 3]}}]"), "3 channels"),
        (with_steps("[{name: zero_mean_unit_variance, kwargs: {mode: fixed, axes: yx}}]"), "fixed"),
        (with_axes(&format!("{{type: channel, channel_names: [r, g, b]}}, {plane}")), "3 channels"),
        (with_axes(&format!("{{type: space, id: z, size: 5}}, {plane}")), "axis z"),
        (with_axes("{type: space, id: y, size: 8}"), "one x"),
        (parsed("0.3.6", input, "[]", onnx), "0.3.6"),
        (parsed("0.4.9", input, "[{name: stardist_postprocessing}]", onnx), "stardist_postprocessing"),
        (parsed("0.4.9", input, "[]", "{torchscript: {source: a.pt}}"), "only torchscript"),
        (parsed("0.4.9", input, "[]", "{onnx: {source: 'https://example.org/a.onnx'}}"), "https://example.org"),
        (parsed("0.4.9", "axes: 7", "[]", onnx), "BioImage.IO"),
        (Description::parse("a: [", Path::new("")), "BioImage.IO"),
    ];
    for (result, words) in refusals {
        let reason = result.expect_err(words);
        assert!(reason.contains(words), "{reason} does not say {words}");
    }
}

#[test]
fn what_is_replaced_or_left_out_is_said() {
    let description = with_steps("[{name: scale_range, kwargs: {mode: per_dataset, axes: cyx}}]").unwrap();
    assert!(description.notes[0].contains("whole data set"), "{:?}", description.notes);
    let input = "axes: bcyx\n  shape: [1, 1, 8, 8]";
    let post = "[{name: sigmoid}, {name: binarize, kwargs: {threshold: 0.5}}]";
    let description = parsed("0.4.9", input, post, "{onnx: {source: weights.onnx}}").unwrap();
    assert_eq!(description.activation, Some(Activation::Sigmoid));
    assert!(description.notes[0].contains("binarize"), "{:?}", description.notes);
}
