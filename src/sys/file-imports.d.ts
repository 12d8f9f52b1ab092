/** `import path from "x" with { type: "file" }`: the path of the file, also inside the compiled binary. */
declare module "*.so" {
  const path: string;
  export default path;
}
declare module "*.addon" {
  const path: string;
  export default path;
}
