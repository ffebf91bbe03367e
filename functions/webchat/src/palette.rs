//! The page's colours, from the one that its owner chose.
//!
//! | colour | where it is | what holds |
//! |---|---|---|
//! | `accent` | words and borders of buttons, focus rings, on the page's surface | contrast 4.5:1 with the surface, also while the mouse is over it |
//! | `you` | behind what the person says | stands out from the surface |
//! | `on_you` | the person's words | contrast 4.5:1 with `you` |
//!
//! Contrast is that of WCAG 2.2, and 4.5:1 what its level AA asks of text. The owner's colour is kept where it has the
//! contrast, and mixed with black or, on the dark surface, with white until it has.

use hoopoe_channels::webchat::appearance::Color;

/// What page.css has as `--surface`.
const LIGHT_SURFACE: Color = Color { rgb: [0xff, 0xfd, 0xfa] };
const DARK_SURFACE: Color = Color { rgb: [0x1f, 0x1a, 0x15] };

const BLACK: Color = Color { rgb: [0; 3] };
const WHITE: Color = Color { rgb: [255; 3] };

/// WCAG 2.2, success criterion 1.4.3.
const TEXT_CONTRAST: f64 = 4.5;

/// How far what the person says stands out from the surface at least; the bot's words do so by 1.15.
const BUBBLE_CONTRAST: f64 = 1.25;

/// How much of the accent lies over the surface below a button that the mouse is over, as in page.css.
const HOVER: f64 = 0.1;

/// In how many steps a colour turns into black or white.
const STEPS: u32 = 64;

/// The colours that depend on the owner's, on the light and on the dark surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Palette {
    pub(crate) light: Colors,
    pub(crate) dark: Colors,
}

/// The colours on one surface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colors {
    pub(crate) accent: Color,
    pub(crate) you: Color,
    pub(crate) on_you: Color,
}

impl Palette {
    /// Hoopoe's own, chosen by eye.
    pub(crate) const HOOPOE: Self = Self {
        light: Colors {
            accent: Color { rgb: [0xa8, 0x48, 0x1c] },
            you: Color { rgb: [0xa8, 0x48, 0x1c] },
            on_you: Color { rgb: [0xff, 0xfa, 0xf5] },
        },
        dark: Colors {
            accent: Color { rgb: [0xf0, 0xa0, 0x71] },
            you: Color { rgb: [0x9c, 0x4a, 0x22] },
            on_you: Color { rgb: [0xff, 0xf7, 0xf0] },
        },
    };

    /// The palette of a colour.
    pub(crate) fn of(color: Color) -> Self {
        Self { light: Colors::on(LIGHT_SURFACE, BLACK, color), dark: Colors::on(DARK_SURFACE, WHITE, color) }
    }
}

impl Colors {
    /// The colours on a surface, where `far` is what contrasts most with it.
    fn on(surface: Color, far: Color, color: Color) -> Self {
        let until = |holds: &dyn Fn(Color) -> bool| {
            let mut steps = (0..=STEPS).map(|step| mixed(color, far, f64::from(step) / f64::from(STEPS)));
            steps.find(|&mixed| holds(mixed)).unwrap_or(far)
        };
        let you = until(&|mixed| contrast(mixed, surface) >= BUBBLE_CONTRAST);
        Self {
            accent: until(&|accent| {
                let below = [surface, mixed(surface, accent, HOVER)];
                below.iter().all(|&below| contrast(accent, below) >= TEXT_CONTRAST)
            }),
            you,
            // One of both has 4.5:1 with any colour: the product of their contrasts is 21.
            on_you: if contrast(WHITE, you) >= TEXT_CONTRAST { WHITE } else { BLACK },
        }
    }
}

/// As CSS mixes in sRGB: `share` of `other`, and the rest of `color`.
fn mixed(color: Color, other: Color, share: f64) -> Color {
    let channel = |index: usize| {
        let (from, to) = (f64::from(color.rgb[index]), f64::from(other.rgb[index]));
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it lies between two bytes")]
        let byte = (to - from).mul_add(share, from).round() as u8;
        byte
    };
    Color { rgb: [channel(0), channel(1), channel(2)] }
}

/// The contrast ratio of WCAG 2.2, 1 to 21.
fn contrast(one: Color, other: Color) -> f64 {
    let (one, other) = (luminance(one) + 0.05, luminance(other) + 0.05);
    one.max(other) / one.min(other)
}

/// The relative luminance of WCAG 2.2, 0 to 1.
fn luminance(color: Color) -> f64 {
    let [red, green, blue] = color.rgb.map(|byte| {
        let value = f64::from(byte) / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126f64.mul_add(red, 0.7152f64.mul_add(green, 0.0722 * blue))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn color(text: &str) -> Color {
        text.to_owned().try_into().expect("a colour")
    }

    /// Panics if a colour cannot be read on its surface.
    fn check(palette: Palette) {
        for (Colors { accent, you, on_you }, surface) in [(palette.light, LIGHT_SURFACE), (palette.dark, DARK_SURFACE)]
        {
            assert!(contrast(accent, surface) >= 4.5, "{accent} on {surface}");
            assert!(contrast(accent, mixed(surface, accent, HOVER)) >= 4.5, "{accent} under the mouse on {surface}");
            assert!(contrast(on_you, you) >= 4.5, "{on_you} on {you}");
            assert!(contrast(you, surface) >= BUBBLE_CONTRAST, "{you} on {surface}");
        }
    }

    #[test]
    fn contrast_is_that_of_the_standard() {
        assert!((contrast(BLACK, WHITE) - 21.0).abs() < 1e-9);
        assert!((contrast(WHITE, WHITE) - 1.0).abs() < 1e-9);
        // #767676 is known as the lightest grey that passes on white, with 4.54.
        assert!((contrast(color("#767676"), WHITE) - 4.54).abs() < 0.005);
    }

    #[test]
    fn a_colour_that_can_be_read_is_kept() {
        let own = color("#9a3f18");
        let palette = Palette::of(own);
        assert_eq!((palette.light.accent, palette.light.you, palette.light.on_you), (own, own, WHITE));
        assert_eq!((palette.dark.you, palette.dark.on_you), (own, WHITE));
        let yellow = Palette::of(color("#ffd400"));
        assert_eq!((yellow.light.you, yellow.light.on_you), (color("#ffd400"), BLACK));
        assert_eq!(yellow.dark.accent, color("#ffd400"));
    }

    #[test]
    fn the_extremes_can_be_read() {
        check(Palette::HOOPOE);
        for extreme in [
            "#000000", "#ffffff", "#808080", "#767676", "#ff0000", "#00ff00", "#0000ff", "#ffff00", "#1f1a15",
            "#fffdfa",
        ] {
            check(Palette::of(color(extreme)));
        }
    }

    #[test]
    fn the_surfaces_are_those_of_the_page() {
        let css = include_str!("../page/page.css");
        for surface in [LIGHT_SURFACE, DARK_SURFACE] {
            assert!(css.contains(&format!("--surface: {surface};")), "{surface}");
        }
        assert!(css.contains("color-mix(in srgb, var(--accent) 10%, transparent)"));
    }

    proptest! {
        #[test]
        fn any_colour_can_be_read(rgb: [u8; 3]) {
            check(Palette::of(Color { rgb }));
        }
    }
}
