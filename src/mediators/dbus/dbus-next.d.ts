/** The two files of dbus-next 0.10.2 that build and read messages; the package's types cover its classes only. */
declare module "dbus-next/lib/message.js" {
  export interface WireMessage {
    type: number;
    serial: number;
    flags?: number;
    path?: string;
    interface?: string;
    member?: string;
    errorName?: string;
    replySerial?: number;
    destination?: string;
    sender?: string;
    signature?: string;
    unixFd?: number;
    body?: unknown[];
  }
  export function marshall(message: WireMessage): [Buffer, unknown[]];
  export function unmarshalMessages(stream: object, onMessage: (message: WireMessage) => void, options: object): void;
}
