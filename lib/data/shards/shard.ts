// The samples of one shard in WebDataset's layout: members whose names agree up to the first dot.

import { basename } from "node:path";
import { plural } from "../../text/words.js";
import { isImage } from "../images/image-files.js";
import { type Member, Tar } from "./tar.js";

/** A sample, which may lack its image or its label. */
interface Sample {
  /** What the names of its members begin with, folders included. */
  key: string;
  /** What the image's name ends in, without the dot; "" where there is no image, or an empty one. */
  extension: string;
  /** Where the image lies in the shard, or else the first member. */
  offset: number;
  /** Of the image; 0 where there is none. */
  bytes: number;
  /** −1 where there is none. */
  label: number;
}

const memberName = /^((?:.*\/)?[^/.]+)\.([^/]+)$/s;
const mostLabelBytes = 1 << 20;

const isLabel = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) < 2 ** 31;

/** How a label is read from a member, by the end of its name; undefined where it holds none. */
const labelReaders: Readonly<Record<string, (text: string) => number | undefined>> = {
  cls: (text) => {
    if (/^\s*\d+\s*$/.test(text) && isLabel(Number(text))) return Number(text);
    throw new Error(`the label is ${JSON.stringify(text.slice(0, 40))}`);
  },
  json: (text) => {
    const { label, cls } = Object(JSON.parse(text));
    return [label, cls].find(isLabel);
  },
};

/** The label in a member, such as `.cls`; undefined where it has none. */
async function readLabel(tar: Tar, member: Member, ending: string): Promise<number | undefined> {
  const { name, offset, bytes } = member;
  const read = Object.hasOwn(labelReaders, ending) ? labelReaders[ending] : undefined;
  if (!read) return undefined;
  const expected =
    "a whole number from 0 in .cls, or in JSON as label or cls. Pack the shard again";
  if (bytes > mostLabelBytes)
    throw tar.error(offset, `${name} has ${plural(bytes, "byte")}`, expected);
  const text = (await tar.read(member)).toString();
  try {
    return read(text);
  } catch (error) {
    throw tar.error(offset, `${name}: ${(error as Error).message}`, expected);
  }
}

/**
 * The samples of the tar `path`, in the order of their first members. An image is a member whose name
 * `isImage` takes; its label is the number in `.cls`, or else in the field `label` or `cls` of `.json`.
 * Members of other kinds are passed over. Throws ERR_ONEHOUR_DATA with the offset of what is wrong.
 */
export async function readShard(path: string): Promise<Sample[]> {
  const samples = new Map<string, Sample>();
  await using tar = await Tar.open(path);
  for await (const member of tar.members()) {
    const { name, offset, bytes } = member;
    const [, key, extension] = memberName.exec(name) ?? [];
    if (key === undefined || extension === undefined) continue;
    if (/[\t\n]/.test(name)) {
      throw tar.error(
        offset,
        `the name ${JSON.stringify(name)}`,
        "names without tabs or line feeds",
      );
    }
    const sample = samples.get(key) ?? { key, extension: "", offset, bytes: 0, label: -1 };
    samples.set(key, sample);
    const ending = extension.toLowerCase();
    if (isImage(basename(name)) && !extension.includes(".")) {
      if (sample.bytes > 0) {
        throw tar.error(
          offset,
          `${name} is the second image of the sample ${key}, whose first lies at ${sample.offset}`,
          "one image a sample. Give each sample a name of its own",
        );
      }
      if (bytes > 0) Object.assign(sample, { extension, offset, bytes });
    } else if (ending === "cls" || sample.label < 0) {
      sample.label = (await readLabel(tar, member, ending)) ?? sample.label;
    }
  }
  return [...samples.values()];
}
