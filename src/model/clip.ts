/** Cuts text without splitting a character that takes two units. */
export const clip = (text: string, max: number): string => {
  if (text.length <= max) return text
  const last = text.charCodeAt(max - 1)
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? max - 1 : max)
}

/** The same with an ellipsis at the end, which counts. */
export const shorten = (text: string, max: number): string =>
  text.length <= max ? text : `${clip(text, max - 1)}…`
