// TensorBoard's messages, as far as onehour writes them: an event with scalars, texts or hyperparameters.
// Field numbers are those of event.proto, summary.proto, tensor.proto and the hparams plugin's plugin_data.proto.

import { bytes, double, float, integer, message } from "./wire.js";

/** Where an event lies on TensorBoard's axes: the step, and seconds since 1970. */
export interface Place {
  step: number;
  wallTime: number;
}

function event({ step, wallTime }: Place, what: Buffer): Buffer {
  return Buffer.concat([double(1, wallTime), integer(2, step), what]);
}

/** The first event of a file. */
export const fileVersion = (place: Place) => event(place, bytes(3, "brain.Event:2"));

/** Says that a process starts at this step: events of this step and later that were read before are void. */
export const sessionStart = (place: Place) => event(place, message(7, integer(1, 1)));

/** An event of some values; each has its tag once. */
export const summary = (place: Place, values: readonly Buffer[]) =>
  event(place, message(5, ...values));

/** A value of a summary: a number, as f32. */
export const scalar = (tag: string, value: number) => message(1, bytes(1, tag), float(2, value));

const [stringTensor, floatTensor] = [7, 1]; // DataType

/** What says which plugin shows a tag. */
const shownBy = (plugin: string, content: Uint8Array) =>
  message(9, message(1, bytes(1, plugin), bytes(2, content)));

/** A value of a summary: a text in Markdown. */
export function text(tag: string, markdown: string): Buffer {
  const tensor = message(8, integer(1, stringTensor), message(2), bytes(8, markdown));
  return message(1, bytes(1, tag), shownBy("text", Buffer.of()), tensor);
}

/** A google.protobuf.Value. */
function anyValue(value: string | number | boolean): Buffer {
  if (typeof value === "number") return double(2, value);
  return typeof value === "string" ? bytes(3, value) : integer(4, Number(value));
}

function hparams(tag: string, data: Buffer): Buffer {
  const tensor = message(8, integer(1, floatTensor), message(2));
  return message(1, bytes(1, `_hparams_/${tag}`), shownBy("hparams", data), tensor);
}

/** A value of a summary: the run's hyperparameters. */
export function hyperparameters(
  values: Readonly<Record<string, string | number | boolean>>,
  { wallTime }: Pick<Place, "wallTime">,
): Buffer {
  const entries = Object.entries(values).map(([name, value]) =>
    message(1, bytes(1, name), message(2, anyValue(value))),
  );
  return hparams("session_start_info", message(3, ...entries, double(5, wallTime)));
}

/** The hparams plugin's Status. */
const statuses = { unknown: 0, success: 1, failure: 2 } as const;

/** A value of a summary: how the run of these hyperparameters ended. */
export const sessionEnd = (
  status: keyof typeof statuses,
  { wallTime }: Pick<Place, "wallTime">,
): Buffer =>
  hparams("session_end_info", message(4, integer(1, statuses[status]), double(2, wallTime)));
