// The colors, dashes and symbols of every chart and page. Colors are told apart with each kind of color
// blindness (after Okabe and Ito, 2008, made darker and lighter for contrast); dashes and symbols without any.

export type Theme = "light" | "dark";

/** A color on light and on dark paper. */
type Pair = Readonly<Record<Theme, string>>;

/** Of lines: each has a contrast of at least 3 with the paper. */
export const lines: readonly Pair[] = [
  { light: "#0b66b0", dark: "#62b2f5" },
  { light: "#c34f00", dark: "#ff9552" },
  { light: "#00795c", dark: "#3ecfa3" },
  { light: "#a2438d", dark: "#ee98d6" },
  { light: "#806000", dark: "#e2bd3f" },
  { light: "#51606e", dark: "#a9bccd" },
];

/** Of what is no line; `text`, `soft` and `accent` have a contrast of at least 4.5 with both papers. */
export const tones = {
  paper: { light: "#ffffff", dark: "#12161b" },
  panel: { light: "#f6f7f9", dark: "#1a2027" },
  text: { light: "#1b232c", dark: "#e4e9ee" },
  soft: { light: "#596573", dark: "#9dabba" },
  rule: { light: "#dfe3e8", dark: "#2d363f" },
  accent: { light: "#0b66b0", dark: "#62b2f5" },
  alert: { light: "#a8321a", dark: "#ff9c85" },
} satisfies Record<string, Pair>;

export const dashes = ["solid", [7, 4], [2, 3], [9, 3, 2, 3], [12, 4], [5, 2]] as const;

export const symbols = ["circle", "triangle", "rect", "diamond", "pin", "arrow"] as const;

/** The entry of a list for the i-th of any number of things. */
export const nth = <T>(list: readonly T[], i: number): T => list[i % list.length]!;

export const fontFamily =
  "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', 'Noto Sans', Arial, sans-serif";
