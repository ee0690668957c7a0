// The table of data sets by name; any other name is a folder of images or a module.

import { readdir, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import { OnehourError, UsageError } from "../errors.js";
import { isModule, loadPinned, modulePath, moduleRest } from "../modules/pinned.js";
import { refuse } from "../recipe/fields.js";
import { nameOf } from "../recipe/voice.js";
import { exists, isForbidden } from "../system/exists.js";
import { closestTo, plain } from "../text/nearest.js";
import { shown } from "../text/words.js";
import { openFashionMnist } from "./built-in/fashion-mnist.js";
import { builtInForms, builtInNames } from "./built-in/names.js";
import { openSynthetic } from "./built-in/synthetic.js";
import { openChecked } from "./check.js";
import type { Dataset, DatasetOpener, DatasetOptions } from "./dataset.js";
import { openImageFolder } from "./images/image-folder.js";

type BuiltIn = keyof typeof builtInNames;

const builtIn: Readonly<Record<BuiltIn, DatasetOpener>> = {
  "fashion-mnist": openFashionMnist,
  synthetic: openSynthetic,
};

/**
 * The data sets that can be named, by the kind before the first colon. A script may add its own for
 * runs with one worker, or, for more, where every rank runs that script: under `onehour launch`,
 * torchrun, Slurm or MPI. The workers that `train` itself starts know the built-in ones only.
 */
export const datasets: Record<string, DatasetOpener> = { ...builtIn };

const kindOf = (name: string) => name.split(":", 1)[0]!;

/** Options that only folders of images have. */
const ofFolders = ["imageSize", "testImageSize", "testResize", "colorJitter"] as const;

/** The opener that a name's kind has; an image folder's name has none. */
function openerOf(name: string): DatasetOpener | undefined {
  const kind = kindOf(name);
  return Object.hasOwn(datasets, kind) ? datasets[kind] : undefined;
}

/** Whether a process that does not run the user's script opens the same data set by this name. */
export function isBuiltIn(name: string): boolean {
  const opener = openerOf(name);
  return !opener || opener === (builtIn as Record<string, DatasetOpener>)[kindOf(name)];
}

/**
 * Opens a data set by name: a built-in one, or a folder with train/CLASS/* and val/CLASS/*, or with tar
 * shards in WebDataset's layout, train-000000.tar and so on. Throws
 * ERR_ONEHOUR_RECIPE when it is unknown, ERR_ONEHOUR_DATA when it is missing or damaged.
 */
export async function openDataset(name: string, options: DatasetOptions = {}): Promise<Dataset> {
  const opener = openerOf(name);
  if (opener) {
    const colon = name.indexOf(":");
    const argument = colon < 0 ? undefined : name.slice(colon + 1);
    refuseFolderOptions(name, options);
    if (isBuiltIn(name)) return await opener(argument);
    const who = `datasets.${kindOf(name)}`;
    return await openChecked(who, requireOpener(`${who} is`, opener), argument);
  }
  if (exists(name) && (await stat(name)).isDirectory()) return await openImageFolder(name, options);
  if (isModule(name)) return await openOwn(name, options);
  const hint = await suggestion(name);
  throw new OnehourError(
    "ERR_ONEHOUR_RECIPE",
    `there is no data set ${shown(name)}, nor a folder of that name; ${hint === undefined ? "" : `${hint} `}` +
      `${hint === undefined ? "e" : "E"}xpected ${builtInForms}, a folder with train/CLASS/ and ` +
      "val/CLASS/ or train-000000.tar and val-000000.tar, or a module of your own, ./data.ts",
  );
}

/** Opens the data set of a user's module. */
async function openOwn(name: string, options: DatasetOptions): Promise<Dataset> {
  refuseFolderOptions(modulePath(name), options);
  const path = modulePath(name);
  const opener = await loadPinned(name, "a function that opens a data set");
  return await openChecked(
    path,
    requireOpener(`${path}: its default export is`, opener),
    moduleRest(name),
  );
}

function requireOpener(what: string, opener: unknown): DatasetOpener {
  if (typeof opener === "function") return opener as DatasetOpener;
  throw new UsageError(
    "ERR_ONEHOUR_MODULE",
    `${what} ${shown(opener)}; expected a function that opens a data set`,
  );
}

function refuseFolderOptions(name: string, options: DatasetOptions): void {
  const option = ofFolders.find((key) => options[key]);
  if (option === undefined) return;
  throw refuse(
    option,
    `the images of ${name} are as they are; expected a folder of images, or no ${nameOf(option)}`,
  );
}

/** Data sets that other tools know by name, and how to have them here. */
const elsewhere: readonly [names: RegExp, answer: () => string][] = [
  [
    /^mnist$/,
    () =>
      "MNIST's four idx files are read as fashion-mnist's are: name their folder, fashion-mnist:FOLDER.",
  ],
  [
    /^(imagenet|ilsvrc)/,
    () => "ImageNet is the folder that holds its images: name that, with train/ and val/ in it.",
  ],
  [
    /^(cifar|svhn|stl|coco|places|food101|tinyimagenet|caltech|flowers|emnist|kmnist)/,
    () =>
      "it is not built in: name a folder that holds its images as train/CLASS/ and val/CLASS/, or a module " +
      "that opens it.",
  ],
  [
    /^(wide|res|dense|mobile|efficient)(res)?ne(x)?t|^vgg|^vit/,
    () => `that is a network: name it with ${nameOf("model")}, and first the images.`,
  ],
  [/^goyal2017/, () => "that is a recipe: --recipe goyal-2017, and first the images."],
  [/^(fake|random|dummy)/, () => "images that need no download are called synthetic."],
];

/** What was probably meant by an unknown name: a path's neighbour, or a data set. */
async function suggestion(name: string): Promise<string | undefined> {
  if (!name.includes("/")) {
    const kind = kindOf(name);
    const [, answer] = elsewhere.find(([names]) => names.test(plain(kind))) ?? [];
    const meant = closestTo(kind, Object.keys(datasets));
    return answer?.() ?? (meant && `did you mean ${shown(meant + name.slice(kind.length))}?`);
  }
  const parent = dirname(name);
  const entries = await readdir(parent, { withFileTypes: true }).catch((error) => {
    return isForbidden(error) ? [] : undefined;
  });
  if (entries === undefined) return `${resolve(parent)} is not a folder either.`;
  const folders = entries
    .filter((entry) => entry.isDirectory() || entry.isSymbolicLink())
    .map((entry) => entry.name);
  if (folders.length === 0) return `${resolve(parent)} holds no folders that this user may see.`;
  const meant = closestTo(basename(name), folders);
  return meant && `did you mean ${shown(join(parent, meant))}?`;
}

/** The name that a run keeps, without opening the data set. */
export function canonicalName(name: string): string {
  if (!openerOf(name)) return resolve(name); // of a module too, whose name begins with its path
  const [kind, path] = [kindOf(name), name.slice(kindOf(name).length + 1)];
  return builtInNames[kind as BuiltIn]?.isPath && name.includes(":")
    ? `${kind}:${resolve(path)}`
    : name;
}
