use crate::data::Picture;

/// Exchanges left and right in place.
pub(super) fn horizontal(picture: &mut Picture) {
    let (width, channels) = (picture.width, picture.channels);
    for row in picture.pixels.chunks_exact_mut(width * channels) {
        if channels == 1 {
            row.reverse(); // several times as fast as the general case
            continue;
        }
        for x in 0..width / 2 {
            let opposite = (width - 1 - x) * channels;
            for c in 0..channels {
                row.swap(x * channels + c, opposite + c);
            }
        }
    }
}
