// The flag `--chart`: what a command draws of its result, as a picture or a page by the ending of the file.
import { extname } from "node:path";
import { requireWritable } from "../system/writable.js";
import { shown } from "../text/words.js";
import { save } from "./save.js";
import { usageError } from "./values.js";

/**
 * What draws a result into a file, which is checked at once, and nothing without one. `pictures` make its contents, by
 * the ending of its name.
 * @throws UsageError ERR_ONEHOUR_USAGE for another ending, and for a file that cannot be written.
 */
export function drawingIn<Result>(
  file: string | undefined,
  pictures: Readonly<Record<string, (result: Result) => string>>,
): (result: Result) => Promise<void> {
  if (file === undefined) return async () => {};
  const picture = pictures[extname(file)];
  if (picture === undefined)
    throw usageError(
      `--chart is ${shown(file)}, expected a file that ends in ${Object.keys(pictures).join(" or ")}.`,
    );
  requireWritable(file, "the chart");
  return (result) => save(file, picture(result), "--chart");
}
