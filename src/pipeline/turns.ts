/** Runs work one after the other. @returns what takes a piece of work and gives its result */
export const turns = () => {
  let last: Promise<unknown> = Promise.resolve()
  return <T>(work: () => Promise<T>): Promise<T> => {
    const next = last.then(work)
    last = next.catch(() => {}) // the caller of that work has the failure
    return next
  }
}
