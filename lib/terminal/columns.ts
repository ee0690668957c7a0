// How many columns of a terminal a text takes, the part of it that fits, and its lines.

// Ranges of characters that East Asian Width calls wide or fullwidth (Unicode 16, EastAsianWidth.txt), merged
// over what is not assigned; emoji have a property of their own.
const wide =
  /[\u1100-\u115f\u2329\u232a\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\ua4cf\ua960-\ua97c\uac00-\ud7a3\uf900-\ufaff\ufe10-\ufe19\ufe30-\ufe6b\uff01-\uff60\uffe0-\uffe6\u{16fe0}-\u{18dff}\u{1aff0}-\u{1b2fb}\u{1d300}-\u{1d376}\u{1f200}-\u{1f265}\u{20000}-\u{3fffd}]|\p{Emoji_Presentation}/u;
const none = /[\p{Mn}\p{Me}\p{Cf}\p{Cc}\u1160-\u11ff]/u;
/** Asks for the picture of a character that is a sign otherwise; terminals differ in whether it is wider. */
const pictured = "\ufe0f";
const plain = /^[\x20-\x7e]*$/;

function columnsOf(character: string): number {
  if (character === pictured) return 1;
  if (none.test(character)) return 0;
  return wide.test(character) ? 2 : 1;
}

/**
 * Columns that a text without control characters takes at most: terminals differ in whether they join the
 * parts of an emoji into one.
 */
export function width(text: string): number {
  if (plain.test(text)) return text.length;
  let columns = 0;
  for (const character of text) columns += columnsOf(character);
  return columns;
}

const segmenter = new Intl.Segmenter("en", { granularity: "grapheme" });

/** A text in at most so many columns: whole, or its beginning and an ellipsis. */
export function fit(text: string, columns: number): string {
  if (width(text) <= columns) return text;
  if (columns < 1) return "";
  let begin = "";
  let left = columns - 1;
  for (const { segment } of segmenter.segment(text)) {
    left -= width(segment);
    if (left < 0) break;
    begin += segment;
  }
  return `${begin}…`;
}

/** Lines of at most so many columns, broken between words; a longer word has a line of its own. */
export function wrap(text: string, columns: number): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(/\s+/)) {
    if (line !== "" && width(line) + 1 + width(word) > columns) {
      lines.push(line);
      line = word;
    } else line = line === "" ? word : `${line} ${word}`;
  }
  return [...lines, line];
}
