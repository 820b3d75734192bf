/**
 * MITRE ATT&CK technique ids in both numberings. Version 19 split Defense Evasion and renumbered the
 * Impair Defenses family; all other ids stayed (attack.mitre.org, release notes of version 19).
 */
const renumbered: Readonly<Record<string, string>> = {
  T1562: 'T1685',
  'T1562.001': 'T1685',
  'T1562.007': 'T1686.001',
  'T1562.008': 'T1685.002',
}

const TECHNIQUE = /^attack\.(t\d{4}(?:\.\d{3})?)$/i

/** Techniques named by Sigma tags such as `attack.t1562.008`. */
export const techniques = (tags: readonly string[]): { v18: string; v19: string }[] =>
  tags.flatMap((tag) => {
    const id = TECHNIQUE.exec(tag)?.[1]?.toUpperCase()
    return id === undefined ? [] : [{ v18: id, v19: renumbered[id] ?? id }]
  })
