//! Grouping of tensors into the modules that they change.

use std::collections::BTreeMap;

use serde::Serialize;

use super::header::Tensor;
use super::names::{self, Family, Method, Name, Role};
use super::product::{self, Cost};
use super::stats::Stats;

/// A module of the model, and how a file changes it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Module {
    /// The name as in the file, such as `lora_unet_mid_block_attentions_0_proj_in`.
    pub name: String,
    /// The part of the model: `U-Net`, `text encoder`, `transformer`, `model` and the like.
    pub part: &'static str,
    /// The block within the part, such as `down_blocks_0`.
    pub block: String,
    /// The method that makes the change.
    pub method: Method,
    /// True if the change has magnitudes of DoRA, too. The norm is without them: their effect depends on the base model.
    pub is_dora: bool,
    /// The rank; `None` when the module is not made of products, or its tensors disagree.
    pub rank: Option<u64>,
    /// The alpha, if the file has one.
    pub alpha: Option<f32>,
    /// The Frobenius norm of the change at strength 1, scaled by alpha / rank where the file has an alpha. The norm is
    /// exact or an upper bound: see [`super::Report::norms_are_exact`]. `None` when a number is not finite or a factor
    /// is missing.
    pub norm: Option<f64>,
    /// True when a factor is all zero, so that the module changes nothing.
    pub is_zero: bool,
    /// The missing tensors by their role: `up`, `down`.
    pub missing: Vec<&'static str>,
    /// The ranks of up and down, if they disagree.
    pub disagreeing: Option<(u64, u64)>,
}

impl Module {
    /// Returns the name of the method for display.
    pub fn method_name(&self) -> &'static str {
        match (self.method, self.is_dora) {
            (Method::Lora, true) => "DoRA",
            (Method::LoHa, true) => "LoHa with DoRA",
            (Method::LoKr, true) => "LoKr with DoRA",
            (method, _) => method.name(),
        }
    }
}

/// A tensor and its role in a module. `tensor` is an index into the tensors of the file.
#[derive(Debug)]
struct Member {
    tensor: usize,
    role: Role,
}

/// A module before its numbers are read.
#[derive(Debug)]
struct Draft {
    name: String,
    method: Method,
    members: Vec<Member>,
}

/// The structure of a file, by the names and shapes of its tensors.
#[derive(Debug)]
pub(super) struct Layout {
    /// The family that most tensors belong to.
    pub(super) family: Option<Family>,
    /// The indices of the tensors that belong to no module.
    pub(super) others: Vec<usize>,
    /// True when the norms will be exact norms of products.
    pub(super) is_exact: bool,
    modules: Vec<Draft>,
    /// For each tensor: its role and rank in a product whose norm is computed exactly.
    wanted: Vec<Option<(Role, u64)>>,
}

/// The facts that are kept of a tensor after reading it.
#[derive(Debug)]
pub(super) struct Seen {
    /// `None` for a type that is not judged.
    pub(super) stats: Option<Stats>,
    /// The single number of a scalar.
    pub(super) scalar: Option<f32>,
    /// The result of [`Layout::gram`].
    pub(super) gram: Option<Vec<f64>>,
}

impl Layout {
    pub(super) fn of(tensors: &[Tensor]) -> Self {
        let mut drafts: BTreeMap<&str, (Option<Method>, Vec<Member>)> = BTreeMap::new();
        let mut families: BTreeMap<Family, usize> = BTreeMap::new();
        let mut others = Vec::new();
        for (place, tensor) in tensors.iter().enumerate() {
            let Some(Name { module, method, role }) = Name::read(&tensor.name) else {
                others.push(place);
                continue;
            };
            if method.is_some() {
                *families.entry(names::family(&tensor.name, module)).or_default() += 1;
            }
            let draft = drafts.entry(module).or_default();
            draft.0 = draft.0.or(method);
            draft.1.push(Member { tensor: place, role });
        }
        let mut modules = Vec::new();
        for (name, (method, mut members)) in drafts {
            let Some(method) = method else {
                others.extend(members.iter().map(|member| member.tensor));
                continue;
            };
            if method == Method::Ia3 {
                members.iter_mut().filter(|m| m.role == Role::Weight).for_each(|member| member.role = Role::Whole(0));
            }
            others.extend(members.iter().filter(|member| member.role == Role::Weight).map(|member| member.tensor));
            members.retain(|member| member.role != Role::Weight);
            modules.push(Draft { name: name.to_owned(), method, members });
        }
        others.sort_unstable();
        let family = families.into_iter().max_by_key(|(_, count)| *count).map(|(family, _)| family);
        let mut layout = Self { family, others, is_exact: false, modules, wanted: vec![None; tensors.len()] };
        layout.want_products(tensors);
        layout
    }

    /// Decides whether the norms will be exact norms of products: for all modules or for none, so that they can be
    /// compared.
    fn want_products(&mut self, tensors: &[Tensor]) {
        let mut cost = Cost::default();
        let mut wanted = vec![None; tensors.len()];
        for module in &self.modules {
            let is_plain = module.method == Method::Lora && !module.members.iter().any(|m| m.role == Role::Core(0));
            if !is_plain {
                return;
            }
            for Member { tensor: place, role } in &module.members {
                let tensor = &tensors[*place];
                let Some(rank) = rank(*role, &tensor.shape, true) else { continue };
                let is_matrix = matches!(role, Role::Down(_)) || tensor.shape[2..].iter().all(|side| *side == 1);
                if !is_matrix || !tensor.dtype.is_judged() {
                    return;
                }
                cost.add(tensor.elements(), rank);
                wanted[*place] = Some((*role, rank));
            }
        }
        self.is_exact = cost.is_affordable() && !self.modules.is_empty();
        if self.is_exact {
            self.wanted = wanted;
        }
    }

    /// Returns true if the numbers of a tensor must be kept for [`Layout::gram`].
    pub(super) fn wants(&self, tensor: usize) -> bool {
        self.wanted[tensor].is_some()
    }

    /// Computes the matrix that the norm of a product requires of a tensor; `None` when the tensor is not in such a
    /// product.
    pub(super) fn gram(&self, tensor: usize, numbers: &[f32]) -> Option<Vec<f64>> {
        let (role, rank) = self.wanted[tensor]?;
        let rank = usize::try_from(rank).ok()?;
        match role {
            Role::Up(_) => Some(product::of_columns(numbers, rank)),
            _ => Some(product::of_rows(numbers, rank)),
        }
    }

    /// Returns the modules with the facts about their tensors.
    pub(super) fn modules(&self, tensors: &[Tensor], seen: &[Seen]) -> Vec<Module> {
        self.modules.iter().map(|draft| draft.finish(tensors, seen, self.is_exact)).collect()
    }
}

/// Returns the rank by the shape of a product's side; `None` for other roles. Up matrices are `[out, rank]` when they
/// are `plain`, and `[rank, out]` next to the core of a LoHa or LoKr.
fn rank(role: Role, shape: &[u64], plain: bool) -> Option<u64> {
    match role {
        Role::Up(_) if plain => shape.get(1).copied(),
        Role::Up(_) | Role::Down(_) => shape.first().copied(),
        _ => None,
    }
}

impl Draft {
    fn member(&self, role: Role) -> Option<usize> {
        self.members.iter().find(|member| member.role == role).map(|member| member.tensor)
    }

    fn finish(&self, tensors: &[Tensor], seen: &[Seen], is_exact: bool) -> Module {
        let count = self.method.factors();
        let factors: Vec<Factor> = (0..count).map(|factor| self.factor(factor, tensors, seen, is_exact)).collect();
        let alpha = self.member(Role::Alpha).and_then(|tensor| seen[tensor].scalar);
        let disagreeing = factors.iter().find_map(|factor| factor.ranks.filter(|(up, down)| up != down));
        let rank = factors.iter().filter_map(|factor| factor.ranks).map(|(up, _)| up).max();
        let rank = rank.filter(|_| disagreeing.is_none());
        let scale = match (alpha, rank) {
            (Some(alpha), Some(rank)) if rank > 0 => f64::from(alpha) / rank as f64,
            _ => 1.0,
        };
        let norms: Option<Vec<f64>> = factors.iter().map(|factor| factor.norm).collect();
        let norm = norms.filter(|_| disagreeing.is_none()).map(|norms| match self.method {
            Method::GLora => norms.iter().sum::<f64>(),
            _ => norms.iter().product(),
        });
        Module {
            name: self.name.clone(),
            part: names::part(&self.name),
            block: names::block(&self.name).to_owned(),
            method: self.method,
            is_dora: self.member(Role::Magnitude).is_some(),
            rank,
            alpha,
            norm: norm.map(|norm| norm * scale.abs()).filter(|norm| norm.is_finite()),
            is_zero: match self.method {
                Method::GLora => factors.iter().all(|factor| factor.is_zero),
                _ => factors.iter().any(|factor| factor.is_zero),
            },
            missing: factors.into_iter().flat_map(|factor| factor.missing).collect(),
            disagreeing,
        }
    }

    fn factor(&self, factor: usize, tensors: &[Tensor], seen: &[Seen], is_exact: bool) -> Factor {
        let roles = [Role::Up(factor), Role::Down(factor)];
        let sides = roles.map(|role| self.member(role));
        let core = self.member(Role::Core(factor));
        let whole = self.member(Role::Whole(factor));
        let plain = self.method == Method::Lora || core.is_none();
        // A side without dimensions cannot have a rank.
        let rank_of = |role, side: usize| rank(role, &tensors[side].shape, plain).unwrap_or(0);
        let missing: Vec<_> =
            ["up", "down"].into_iter().zip(sides).filter(|(_, side)| side.is_none()).map(|(name, _)| name).collect();
        let missing = if whole.is_some() && missing.len() == 2 { Vec::new() } else { missing };
        let stats: Option<Vec<Stats>> =
            [whole, sides[0], sides[1], core].into_iter().flatten().map(|tensor| seen[tensor].stats).collect();
        let stats = stats.unwrap_or_default();
        let is_whole = missing.is_empty() && !stats.is_empty() && stats.iter().all(Stats::is_finite);
        let norm = match sides.map(|side| side.and_then(|tensor| seen[tensor].gram.as_deref())) {
            [Some(up), Some(down)] if is_exact && up.len() == down.len() => product::norm(up, down),
            _ => stats.iter().map(|stats| stats.norm).product(),
        };
        Factor {
            ranks: sides[0].zip(sides[1]).map(|(up, down)| (rank_of(roles[0], up), rank_of(roles[1], down))),
            norm: is_whole.then_some(norm),
            // A tensor without elements is told apart.
            is_zero: stats.iter().any(|stats| stats.is_zero() && stats.min.is_some()),
            missing,
        }
    }
}

/// A factor of a module's change.
struct Factor {
    /// The ranks of up and down.
    ranks: Option<(u64, u64)>,
    norm: Option<f64>,
    is_zero: bool,
    missing: Vec<&'static str>,
}
