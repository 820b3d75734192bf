export const renderReport = (..._: unknown[]): string => ''
