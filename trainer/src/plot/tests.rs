//! Pictures are well-formed, hold what they were given, and survive anything.

use super::*;

/// Names of the elements of a picture, in order; panics where it is not well-formed.
fn elements(svg: &str) -> Vec<String> {
    let (mut open, mut all): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    for part in svg.split('<').skip(1) {
        let (tag, text) = part.split_once('>').expect("every tag ends");
        assert!(!text.contains('>'), "a bare > in {text}");
        let name = tag.trim_matches('/').split(' ').next().unwrap().to_string();
        match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => assert_eq!(open.pop(), Some(name), "in {svg}"),
            (false, true) => all.push(name),
            (false, false) => {
                all.push(name.clone());
                open.push(name);
            }
        }
    }
    assert_eq!(open, [] as [String; 0]);
    all
}

fn count(svg: &str, name: &str) -> usize {
    elements(svg).iter().filter(|e| *e == name).count()
}

#[test]
fn a_chart_draws_what_is_finite_and_breaks_where_nothing_is() {
    let nan = f64::NAN;
    let values = vec![(0.0, 1.0), (1.0, 2.0), (2.0, nan), (3.0, 4.0), (4.0, f64::INFINITY), (5.0, 3.0)];
    let svg = Chart::new("loss", "step", "nats").line("train", values).size(400, 300).to_svg();
    let d = svg.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
    assert_eq!(d.matches('M').count(), 3, "{d}");
    assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    assert_eq!(svg::size_of(&svg), Some((400.0, 300.0)));
}

#[test]
fn a_long_curve_keeps_its_peaks_in_few_bytes() {
    let mut values: Vec<(f64, f64)> = (0..200_000).map(|i| (f64::from(i), 1.0)).collect();
    values[123_456].1 = 9.0;
    let svg = Chart::new("", "step", "loss").line("a", values).to_svg();
    assert!(svg.len() < 40_000, "{} bytes", svg.len());
    let d = svg.split(" d=\"").nth(1).unwrap().split('"').next().unwrap();
    let ys: Vec<f64> =
        d.trim_start_matches('M').split(' ').skip(1).step_by(2).map(|y| y.parse().unwrap()).collect();
    assert_eq!(ys.iter().filter(|y| **y < ys[0] / 2.0).count(), 1);
}

#[test]
fn markup_in_names_is_text() {
    let evil = "</text><script>alert('1')</script>\u{1}";
    let chart = Chart::new(evil, evil, evil)
        .line(evil, vec![(0.0, 1.0)])
        .points(evil, vec![(1.0, 1.0)])
        .mark_x(0.5, evil);
    let names = vec![evil.to_string()];
    let heat = HeatMap::new(evil, evil, evil, names.clone(), names, vec![vec![1.0]]).value_label(evil);
    for svg in [chart.to_svg(), heat.to_svg()] {
        assert_eq!(count(&svg, "script"), 0);
        assert!(!svg.contains('\u{1}'));
    }
}

#[test]
fn nothing_to_show_is_a_picture_too() {
    let nothing = || Vec::<f64>::new();
    elements(&Chart::new("", "", "").to_svg());
    elements(&Chart::new("", "", "").log_x().log_y().line("a", vec![(-1.0, 0.0), (f64::NAN, 1.0)]).to_svg());
    elements(&HeatMap::new("", "", "", nothing(), nothing(), vec![]).log_scale().to_svg());
    elements(&HeatMap::new("", "", "", vec![1.0], vec!["a".to_string()], vec![vec![f64::NAN]]).to_svg());
    elements(&HeatMap::new("", "", "", vec![f64::NAN, 1.0], vec![2.0, 2.0], vec![vec![1.0; 2]; 2]).to_svg());
    elements(&grid("", vec![]));
}

#[test]
fn cells_of_a_heat_map_cover_it_but_for_holes() {
    let values = vec![vec![1.0, 1.0, 2.0], vec![f64::NAN, 3.0, 3.0]];
    let names = ["top", "bottom"].map(str::to_string).to_vec();
    let svg =
        HeatMap::new("t", "x", "y", vec!["a".to_string(), "b".into(), "c".into()], names, values).to_svg();
    let covered: i64 = svg
        .split("M")
        .skip(1)
        .filter_map(|m| {
            let (_, size) = m.split_once('h')?;
            let (w, size) = size.split_once('v')?;
            Some(w.parse::<i64>().ok()? * size.split('h').next()?.parse::<i64>().ok()?)
        })
        .sum();
    assert_eq!(covered, 5);
}

#[test]
fn rows_of_numbers_begin_at_the_bottom() {
    let svg =
        HeatMap::new("", "x", "y", vec![0.0, 1.0], vec![0.0, 1.0], vec![vec![0.0, 0.0], vec![1.0, 1.0]])
            .to_svg();
    let low = svg.split(&format!("fill=\"{}\" d=\"", colour::Map::Sequential.hex(0.0))).nth(1).unwrap();
    assert!(low.starts_with("M0 500h1000v500"), "{low}");
}

#[test]
fn a_grid_holds_its_pictures_side_by_side() {
    let one = || Chart::new("one", "x", "y").size(300, 200).to_svg();
    let svg = grid("all", vec![one(), one(), one()]);
    let (w, h) = svg::size_of(&svg).unwrap();
    assert!(w == 600.0 && h > 400.0, "{w} x {h}");
    assert_eq!((count(&svg, "style"), count(&svg, "title")), (1, 4));
}

#[test]
fn panels_name_their_series_once_and_tell_them_apart_without_colour() {
    let values = |i: usize| vec![(0.0, 1.0 + i as f64), (1.0, 2.0)];
    let names: Vec<String> = (0..12).map(|i| format!("variant {i}")).collect();
    let chart = |label: &str| {
        let empty = Chart::new("", label, "loss").size(500, 300);
        let with = |c: Chart, (i, name): (usize, &String)| c.line(name, values(i)).beside(vec![(1.0, 2.0)]);
        names.iter().enumerate().fold(empty, with)
    };
    let svg = panels("all", vec![chart("steps"), chart("seconds")]);
    elements(&svg);
    assert_eq!(svg::size_of(&svg).unwrap().0, 1000.0);
    for name in &names {
        assert_eq!(svg.matches(&format!(">{name}</text>")).count(), 1, "{name}");
    }
    let legend = &svg[..svg.find("<svg x=").unwrap()];
    let shape =
        |s: &str| ["<circle", "h6.4", "l4 7", "l4.5"].into_iter().find(|part| s.contains(part)).unwrap();
    let looks: Vec<_> =
        legend.split("<line class=\"line ").skip(1).map(|s| (s[..2].to_string(), shape(s))).collect();
    assert_eq!(looks.len(), 12);
    for (i, look) in looks.iter().enumerate() {
        assert!(!looks[..i].contains(look), "{i}: {look:?}");
    }
}

#[test]
fn what_lies_above_the_top_is_cut_off_and_a_band_is_shaded() {
    let chart =
        Chart::new("", "rate", "loss").log_x().line("a", vec![(1e-3, 2.0), (1e-2, 1.0), (1e-1, 900.0)]);
    let svg = chart.clone().top(3.0).band_x(1e-3, 1e-2).to_svg();
    assert!(svg.contains(">3.0</text>") && !svg.contains(">800</text>"), "{svg}");
    assert_eq!(svg.matches("class=\"band\"").count(), 1);
    assert!(chart.to_svg().contains(">800</text>"));
}
