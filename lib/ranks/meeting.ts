// What ranks tell each other by key: the part of a world that is there before the run is settled.

export interface Meeting {
  /** From 0 to `worldSize` − 1. */
  readonly rank: number;
  readonly worldSize: number;
  /**
   * All ranks' texts in rank order; resolves when every rank has called with this key. A key may be used
   * again afterwards.
   * @throws OnehourError ERR_ONEHOUR_RENDEZVOUS naming the ranks that are missing.
   */
  gather(key: string, value: string): Promise<string[]>;
  /**
   * All ranks' bytes in rank order on rank 0, and nothing elsewhere; resolves when rank 0 has them. They may be
   * many and secret: only a process with the token can read or replace them on their way. They travel in rounds;
   * after each, every rank's `onSent` hears how many of this call's bytes have travelled, of all ranks together.
   */
  collect(key: string, value: Uint8Array, onSent?: (bytes: number) => void): Promise<Uint8Array[]>;
}
