//! Contour lines of values on a grid, by marching squares (Lorensen & Cline 1987, in two dimensions).
//!
//! Each square between four grid points is crossed by a line where its corners lie on different sides of the level; where it is crossed, the
//! values are taken as linear along the edge. A saddle, whose opposite corners agree, is told apart by the mean of its corners. Squares with a
//! corner that is not finite have no line. Pieces that meet on an edge are joined into lines as long as they go.

use std::collections::HashMap;

/// A point, in the numbers of the axes.
pub(crate) type Point = (f64, f64);

/// An edge of the grid: the column and row of its first point, and whether it goes up rather than right.
type Edge = (usize, usize, bool);

/// The lines of `values`, one row for each of `y` with one value for each of `x`, at `level`. A closed line ends at its first point.
pub(crate) fn contours(x: &[f64], y: &[f64], values: &[Vec<f64>], level: f64) -> Vec<Vec<Point>> {
    let mut pieces = Vec::new();
    for row in 1..y.len() {
        for column in 1..x.len() {
            pieces.extend(crossings(values, column - 1, row - 1, level));
        }
    }
    let at = |(column, row, up): Edge| {
        let (other_column, other_row) = if up { (column, row + 1) } else { (column + 1, row) };
        let (a, b) = (values[row][column], values[other_row][other_column]);
        let t = (level - a) / (b - a);
        let between = |a: f64, b: f64| a + t * (b - a);
        (between(x[column], x[other_column]), between(y[row], y[other_row]))
    };
    joined(&pieces).into_iter().map(|edges| edges.into_iter().map(at).collect()).collect()
}

/// The pieces in the square whose lower left point is `(c, r)`, each from an edge to an edge.
fn crossings(values: &[Vec<f64>], c: usize, r: usize, level: f64) -> Vec<(Edge, Edge)> {
    // Corners from the lower left around the square.
    let corners = [values[r][c], values[r][c + 1], values[r + 1][c + 1], values[r + 1][c]];
    if !corners.iter().all(|v| v.is_finite()) {
        return Vec::new();
    }
    let edges: [Edge; 4] = [(c, r, false), (c + 1, r, true), (c, r + 1, false), (c, r, true)];
    let above = corners.map(|v| v >= level);
    let crossed: Vec<usize> = (0..4).filter(|&e| above[e] != above[(e + 1) % 4]).collect();
    match crossed[..] {
        [a, b] => vec![(edges[a], edges[b])],
        [_, _, _, _] => {
            let middle = corners.iter().sum::<f64>() / 4.0 >= level;
            // The lines cut off the corners that differ from the middle.
            match above[0] == middle {
                true => vec![(edges[0], edges[1]), (edges[2], edges[3])],
                false => vec![(edges[3], edges[0]), (edges[1], edges[2])],
            }
        }
        _ => Vec::new(),
    }
}

/// Pieces joined where they share an edge, in a fixed order.
fn joined(pieces: &[(Edge, Edge)]) -> Vec<Vec<Edge>> {
    let mut ends: HashMap<Edge, Vec<usize>> = HashMap::new();
    for (i, (a, b)) in pieces.iter().enumerate() {
        ends.entry(*a).or_default().push(i);
        ends.entry(*b).or_default().push(i);
    }
    let mut used = vec![false; pieces.len()];
    let mut lines = Vec::new();
    // Open lines begin at an end that belongs to one piece; what is left then are closed ones.
    let open = (0..pieces.len()).filter(|&i| ends[&pieces[i].0].len() == 1 || ends[&pieces[i].1].len() == 1);
    for first in open.collect::<Vec<_>>().into_iter().chain(0..pieces.len()) {
        if used[first] {
            continue;
        }
        used[first] = true;
        let (a, b) = pieces[first];
        let mut line = if ends[&b].len() == 1 { vec![b, a] } else { vec![a, b] };
        while let Some(&next) = ends[&line[line.len() - 1]].iter().find(|&&i| !used[i]) {
            used[next] = true;
            let (a, b) = pieces[next];
            line.push(if a == line[line.len() - 1] { b } else { a });
        }
        lines.push(line);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(n: usize, f: impl Fn(f64, f64) -> f64) -> (Vec<f64>, Vec<Vec<f64>>) {
        let at: Vec<f64> = (0..n).map(|i| 2.0 * i as f64 / (n - 1) as f64 - 1.0).collect();
        let values = at.iter().map(|y| at.iter().map(|x| f(*x, *y)).collect()).collect();
        (at, values)
    }

    #[test]
    fn a_plane_gives_one_straight_line() {
        let (at, values) = grid(5, |x, y| x + 2.0 * y);
        let lines = contours(&at, &at, &values, 0.25);
        assert_eq!(lines.len(), 1);
        assert!(lines[0].iter().all(|(x, y)| (x + 2.0 * y - 0.25).abs() < 1e-12), "{lines:?}");
        assert!(lines[0].len() > 4);
    }

    #[test]
    fn a_bowl_gives_a_closed_circle() {
        let (at, values) = grid(41, |x, y| x * x + y * y);
        let lines = contours(&at, &at, &values, 0.25);
        assert_eq!(lines.len(), 1);
        assert_eq!(lines[0].first(), lines[0].last());
        assert!(lines[0].iter().all(|(x, y)| (x.hypot(*y) - 0.5).abs() < 2e-3));
        assert_eq!(contours(&at, &at, &values, 3.0), [] as [Vec<Point>; 0]);
    }

    #[test]
    fn a_saddle_is_cut_by_the_mean_of_its_corners() {
        let at = [0.0, 1.0];
        for (high, level) in [(3.0, 1.0), (1.5, 1.0)] {
            let values = vec![vec![0.0, high], vec![high, 0.0]];
            let lines = contours(&at, &at, &values, level);
            assert_eq!(lines.len(), 2);
            // With a middle above the level, each line cuts off a low corner and stays on its side of x + y = 1; else a high one, across.
            let stays =
                |l: &Vec<Point>| l.iter().all(|(x, y)| x + y < 1.0) || l.iter().all(|(x, y)| x + y > 1.0);
            let cuts_low = lines.iter().all(stays);
            assert_eq!(cuts_low, high / 2.0 >= level, "{lines:?}");
        }
    }

    #[test]
    fn holes_have_no_lines() {
        let (at, mut values) = grid(5, |x, _| x);
        values[2][2] = f64::NAN;
        let lines = contours(&at, &at, &values, 0.1);
        assert_eq!(lines.len(), 2);
        assert!(lines.iter().flatten().all(|p| p.0.is_finite() && p.1.is_finite()));
    }
}
