//! Any bytes at all, and any way to cut them.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::corpus::all;
use super::*;

fn corpus() -> impl Strategy<Value = Vec<u8>> {
    select(all().into_iter().map(|(_, bytes)| bytes).collect::<Vec<_>>())
}

/// Cuts at these places.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// Reads in these segments until there is an answer.
fn in_segments(bytes: &[u8], cuts: &[Index]) -> Progress {
    let mut reader = Reader::default();
    let mut end = 0;
    let mut answer = Progress::More;
    for piece in pieces(bytes, cuts) {
        end += piece.len();
        answer = reader.read(&bytes[..end]);
        if answer != Progress::More {
            break;
        }
    }
    answer
}

proptest! {
    #[test]
    fn segments_and_records(
        bytes in corpus(),
        records in vec(any::<Index>(), 0..20),
        segments in vec(any::<Index>(), 0..20),
        after in vec(any::<u8>(), 0..50),
    ) {
        let whole = hello(&bytes);
        let message = unrecorded(&bytes);
        let pieces = pieces(&message, &records).into_iter().filter(|piece| !piece.is_empty());
        let mut bytes: Vec<_> = pieces.flat_map(one_record).collect();
        let expected = Hello { length: bytes.len(), ..whole };
        bytes.extend(after);
        prop_assert_eq!(in_segments(&bytes, &segments), Progress::Hello(expected));
    }

    #[test]
    fn mutated(
        mut bytes in corpus(),
        places in vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Index>(),
        segments in vec(any::<Index>(), 0..20),
    ) {
        for (place, byte) in places {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(cut.index(2 * bytes.len()));
        fuzz(&bytes);
        prop_assert_eq!(in_segments(&bytes, &segments), read(&bytes));
    }

    #[test]
    fn random(bytes in vec(any::<u8>(), 0..300)) {
        fuzz(&bytes);
        fuzz(&[&[22, 3, 1, 1, 0, 1, 0, 0, 252], &bytes[..]].concat());
        fuzz(&records(&message(&bytes), 7));
    }

    #[test]
    fn random_extensions(
        extensions in vec((0..50_u16, vec(any::<u8>(), 0..20)), 0..6),
        name in ".{0,30}",
    ) {
        let mut list: Vec<_> = extensions.iter().map(|(kind, body)| extension(*kind, body)).collect();
        list.push(sni(name.as_bytes()));
        fuzz(&Build::with(&list).bytes());
    }
}
