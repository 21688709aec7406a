//! Curves as SVG, on white.
use std::error::Error;

use plotters::{
    coord::{
        Shift,
        ranged1d::{AsRangedCoord, ValueFormatter},
    },
    prelude::*,
};

use crate::report::Curve;

/// Width and height in pixels.
const SIZE: (u32, u32) = (800, 480);
const FONT: &str = "sans-serif";
/// Distinguishable on white, on paper and with colour blindness, after Okabe and Ito.
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(0, 0, 0),
];
/// If ordinates span more than this factor, their axis is logarithmic too.
const WIDE: f64 = 50.0;

type Outcome = Result<(), Box<dyn Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a curve.
///
/// # Errors
/// When it has no point.
pub(crate) fn svg(curve: &Curve) -> Result<String, Box<dyn Error>> {
    let mut text = String::new();
    {
        let area = SVGBackend::with_string(&mut text, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let (least, most) = ends(curve, |point| point.1).ok_or("a curve without a point")?;
        if least > 0.0 && most / least > WIDE {
            draw(curve, (decade(least)..most * 1.5).log_scale(), &area)?;
        } else {
            draw(curve, 0.0..most * 1.1, &area)?;
        }
        area.present()?;
    }
    Ok(text)
}

/// The largest power of ten up to this number.
fn decade(number: f64) -> f64 {
    10_f64.powf(number.log10().floor())
}

/// The least and the greatest of all points.
fn ends(curve: &Curve, of: fn(&(f64, f64)) -> f64) -> Option<(f64, f64)> {
    let numbers = || curve.series.iter().flat_map(|series| &series.1).map(of);
    Some((numbers().reduce(f64::min)?, numbers().reduce(f64::max)?))
}

fn draw<Y>(curve: &Curve, ordinate: Y, area: &Area<'_>) -> Outcome
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let (first, last) = ends(curve, |point| point.0).ok_or("a curve without a point")?;
    let mut chart = ChartBuilder::on(area)
        .caption(&curve.title, (FONT, 20))
        .margin(14)
        // Half of the last number of the abscissa.
        .margin_right(40)
        .x_label_area_size(46)
        .y_label_area_size(76)
        .build_cartesian_2d((first..last.max(first * 1.1)).log_scale(), ordinate)?;
    chart
        .configure_mesh()
        .x_desc(curve.abscissa)
        .y_desc(curve.ordinate)
        .x_label_formatter(&|number| grouped(*number))
        .y_label_formatter(&|number| grouped(*number))
        .light_line_style(WHITE)
        .label_style((FONT, 14))
        .axis_desc_style((FONT, 15))
        .draw()?;
    for ((name, points), colour) in curve.series.iter().zip(COLOURS.into_iter().cycle()) {
        let line = LineSeries::new(points.iter().copied(), colour.stroke_width(2));
        chart.draw_series(line)?.label(name).legend(move |(x, y)| {
            PathElement::new(vec![(x, y), (x + 18, y)], colour.stroke_width(2))
        });
        chart.draw_series(points.iter().map(|point| Circle::new(*point, 3, colour.filled())))?;
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font((FONT, 14))
        .draw()?;
    Ok(())
}

/// A number for an axis, formatted as in the texts: `0.25`, `1,200`, `1,000,000`.
fn grouped(number: f64) -> String {
    let text = format!("{}", (number * 1e3).round() / 1e3);
    let (whole, part) = text.split_once('.').unwrap_or((&text, ""));
    let mut shown = String::new();
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            shown.push(',');
        }
        shown.push(digit);
    }
    if part.is_empty() { shown } else { format!("{shown}.{part}") }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// Reads a document with Python's XML parser; returns its text and elements.
    fn parsed(svg: &str) -> String {
        let program = "import sys, xml.etree.ElementTree as tree\n\
                       root = tree.fromstring(sys.argv[1])\n\
                       for element in root.iter():\n\
                       \x20   print(element.tag.rsplit('}')[-1], (element.text or '').strip())\n";
        let output = Command::new("python3").args(["-c", program, svg]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    fn sample(factor: f64) -> Curve {
        let points = |step: f64| [10.0, 1e3, 1e6].map(|x: f64| (x, step * x.powf(factor))).to_vec();
        Curve {
            file: "sample",
            title: "from <file> & force".to_owned(),
            abscissa: "prefixes",
            ordinate: "ms",
            series: vec![("enforcer".to_owned(), points(1.0)), ("nft".to_owned(), points(2.0))],
        }
    }

    #[test]
    fn a_picture_has_its_title_axes_and_each_series() {
        for factor in [0.1, 1.0] {
            let elements = parsed(&svg(&sample(factor)).unwrap());
            for text in [
                "from <file> & force",
                "prefixes",
                "ms",
                "enforcer",
                "nft",
                "1,000",
                "100,000",
                "1,000,000",
            ] {
                assert!(elements.contains(&format!("text {text}\n")), "{text}: {elements}");
            }
            assert_eq!(elements.matches("circle ").count(), 6, "{elements}");
            // Two lines, and two in the legend.
            assert!(elements.matches("polyline ").count() >= 4, "{elements}");
        }
    }

    #[test]
    fn a_picture_without_points_is_refused() {
        let empty = Curve { series: Vec::new(), ..sample(1.0) };
        assert!(svg(&empty).is_err());
    }

    #[test]
    fn numbers_of_an_axis_are_grouped() {
        let shown = [0.25, 10.0, 100.0, 1e3, 2.5e4, 1e6].map(grouped);
        assert_eq!(shown, ["0.25", "10", "100", "1,000", "25,000", "1,000,000"]);
    }
}
