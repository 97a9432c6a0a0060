/** Base images are named by digest: a tag may be something else tomorrow. `make pin-image` writes it. */
const FROM = /^FROM\s+(\S+)/gm;

export const baseImagesOf = (dockerfile: string): readonly string[] => [
  ...new Set([...dockerfile.matchAll(FROM)].map(([, image = '']) => image)),
];

export const tagOf = (image: string): string => image.split('@')[0] ?? image;

/** A digest that is there has to be one, and the same wherever the tag is used. None yet: see `unpinned`. */
export function imageProblems(dockerfile: string): readonly string[] {
  const images = baseImagesOf(dockerfile);
  const malformed = images.filter((image) => image.includes('@') && !/@sha256:[0-9a-f]{64}$/.test(image));
  const tags = images.map(tagOf);
  const ambiguous = tags.filter((tag, index) => tags.indexOf(tag) !== index);
  return [
    ...malformed.map((image) => `Dockerfile: ${image} has no SHA-256 digest behind its @`),
    ...ambiguous.map((tag) => `Dockerfile: ${tag} is pinned to two digests, or only in one place; run make pin-image`),
  ];
}

export const unpinned = (dockerfile: string): readonly string[] => baseImagesOf(dockerfile).filter((image) => !image.includes('@sha256:'));

/** The same with this digest behind every use of the tag. */
export const pinned = (dockerfile: string, tag: string, digest: string): string =>
  dockerfile.replaceAll(FROM, (line, image: string) => (tagOf(image) === tag ? line.replace(image, `${tag}@${digest}`) : line));
