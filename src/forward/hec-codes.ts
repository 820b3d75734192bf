/**
 * What every answer of a Splunk HTTP Event Collector means for what was sent.
 * Codes 0 to 25: https://docs.splunk.com/Documentation/Splunk/latest/Data/TroubleshootHTTPEventCollector
 * Codes 26 to 28 and the place of a bad object: observed on Enterprise 10.4 and Cloud 10.5 by others.
 */

export type HecMeaning =
  /** Taken. */
  | 'accepted'
  /** Taken; the server asks for less at a time, or for quicker questions about acknowledgements. */
  | 'accepted_slow'
  /** Nothing was taken, and later it will be. */
  | 'later'
  /** It may or may not have been taken: sent again, the same ids tell. */
  | 'ambiguous'
  /** Token, index or channel must be corrected: hold. */
  | 'fault'
  /** The object that `invalid-event-number` names is bad; those before it were taken. */
  | 'item'
  /** Acknowledgement is off for this token. */
  | 'ack_off'
  /** We sent nothing: our own mistake. */
  | 'own'

export const hecCodes: Readonly<Record<number, readonly [meaning: HecMeaning, text: string]>> = {
  0: ['accepted', 'success'],
  1: ['fault', 'the token is disabled'],
  2: ['fault', 'a token is required'],
  3: ['fault', 'the authorization is invalid'],
  4: ['fault', 'the token is invalid'],
  5: ['own', 'no data'],
  6: ['item', 'invalid data format'],
  7: ['fault', 'the token may not write to this index, or the index does not exist'],
  8: ['ambiguous', 'internal server error'],
  9: ['later', 'the server is busy'],
  10: ['fault', 'the data channel is missing'],
  11: ['fault', 'the data channel is invalid'],
  12: ['item', 'the event field is required'],
  13: ['item', 'the event field is blank'],
  14: ['ack_off', 'acknowledgement is disabled for this token'],
  15: ['item', 'indexed fields cannot be handled'],
  16: ['fault', 'query string authorization is not enabled'],
  17: ['accepted', 'healthy'],
  18: ['later', 'unhealthy: queues are full'],
  19: ['later', 'unhealthy: the acknowledgement service is unavailable'],
  20: ['later', 'unhealthy: queues are full and the acknowledgement service is unavailable'],
  21: ['fault', 'the token is invalid'],
  22: ['fault', 'the token is disabled'],
  23: ['later', 'the server is shutting down'],
  24: ['accepted_slow', 'the queue approaches its limit'],
  25: ['accepted_slow', 'acknowledgements approach their limit'],
  26: ['later', 'the queue is full'],
  27: ['later', 'the acknowledgement channel is full'],
  28: ['fault', 'the data channel is missing'],
}
